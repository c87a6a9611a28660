"""SDXL's U-Net and VAE from diffusers, sampled as the released code does.

Conditioned on image tokens it is the published unCLIP; on text, the base model of the refinement.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mindeye2.core.settings import Settings
from mindeye2.encoders.sd_vae import SDXL_SCALE
from mindeye2.generation.sd.schedule import (
    LatentDenoiser,
    guided,
    nearest_level,
    noise_levels,
    sample_euler,
    training_levels,
)
from mindeye2.generation.unclip import image_noise

__all__ = ["Sdxl", "SdxlSampling"]


class SdxlSampling(Settings):
    """Sampling of unCLIP; the defaults are the released ones."""

    steps: Annotated[int, Field(ge=1, le=1000)] = 38
    """Evaluations of the U-Net."""

    guidance_scale: float = 5.0
    """Scale of classifier-free guidance against random tokens; 1 is none and halves the work."""

    offset_noise: Annotated[float, Field(ge=0)] = 0.04
    """Standard deviation of the noise that is constant over an image's positions."""

    size: Annotated[int, Field(ge=8, multiple_of=8)] = 768
    """Side in pixels of the generated images."""

    brightness: tuple[float, float] = (0.8, 0.2)
    """Scale and shift from the VAE's output in [-1, 1] to RGB in [0, 1]. The released model's
    images are too dark with (.5, .5), presumably because its image encoder was given [.5, 1]."""

    batched_guidance: bool = True
    """Evaluate both conditions of guidance in one batch: faster on a GPU, twice the memory."""

    decode_batch: Annotated[int, Field(ge=1)] = 2
    """Images per batch of the VAE."""


class Sdxl(nn.Module):
    """A latent diffusion model with SDXL's noise schedule.

    Parameters
    ----------
    unet
        diffusers' ``UNet2DConditionModel`` as `build_unet` makes it.
    vae
        diffusers' ``AutoencoderKL``; it stays in float32, because half precision overflows in it.
    sampling
        Sampling of `decode`.
    size_width
        Width of the embedding of one number of the size vector.
    """

    def __init__(
        self,
        *,
        unet: nn.Module,
        vae: nn.Module,
        sampling: SdxlSampling | None = None,
        size_width: int = 256,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.vae = vae
        self.sampling = SdxlSampling() if sampling is None else sampling
        self.size_width = size_width
        self._compute: torch.device | None = None

    @property
    def device(self) -> torch.device:
        """Device of the computation; with CPU offload not that of the weights."""
        # The VAE's: in a sharded training the U-Net here has no values on some ranks.
        return self._compute or next(self.vae.parameters()).device

    def to_device(
        self, device: torch.device, *, dtype: torch.dtype = torch.float32, offload: bool = False
    ) -> "Sdxl":
        """Set the device of the computation and the precision of the U-Net.

        With `offload` weights stay in main memory, and U-Net and VAE move to the device in turn.
        """
        for network, precision in ((self.unet, dtype), (self.vae, torch.float32)):
            if next(network.parameters()).dtype != precision:
                network.to(dtype=precision)
        self.to("cpu" if offload else device)
        self._compute = device if offload else None
        return self

    @contextmanager
    def _loaded(self, module: nn.Module) -> Iterator[None]:
        if self._compute is None:
            yield
            return
        module.to(self._compute)
        try:
            yield
        finally:
            module.to("cpu")

    def size_vector(
        self,
        *,
        original_size: tuple[int, int] = (768, 768),
        crop: tuple[int, int] = (0, 0),
        target_size: tuple[int, int] | None = None,
    ) -> Float[Tensor, "1 features"]:
        """Compute SDXL's embedding of size and crop.

        Parameters
        ----------
        original_size
            Height and width in pixels before cropping.
        crop
            Top and left in pixels of the crop.
        target_size
            Height and width in pixels of the crop: a condition of the base model, not of unCLIP.

        Returns
        -------
        Tensor
            Cosines then sines of each number, one after the other.
        """
        numbers = torch.tensor([*original_size, *crop, *(target_size or ())], dtype=torch.float32)
        half = self.size_width // 2
        rates = torch.exp(-torch.arange(half) / half * torch.log(torch.tensor(10_000.0)))
        angles = numbers[:, None] * rates
        return torch.cat([angles.cos(), angles.sin()], dim=1).flatten()[None].to(self.device)

    def sigmas(self, steps: int) -> Float[Tensor, " steps"]:
        """Return the ``steps + 1`` noise levels of a sampler, falling to 0."""
        return noise_levels(steps)

    def denoise(  # noqa: PLR0917 - four arrays of one noisy image
        self,
        latents: Float[Tensor, "batch channels height width"],
        sigma: Float[Tensor, " batch"],
        tokens: Float[Tensor, "batch tokens features"],
        vector: Float[Tensor, "_ features2"],
    ) -> Float[Tensor, "batch channels height width"]:
        """Predict clean latents; noise levels are rounded to those of training, as released."""
        level = nearest_level(sigma)
        sigma = training_levels().to(latents)[level][:, None, None, None]
        dtype = next(self.unet.parameters()).dtype
        epsilon = self.unet(
            (latents / (sigma**2 + 1).sqrt()).to(dtype),
            level,
            encoder_hidden_states=tokens.to(dtype),
            class_labels=vector.to(dtype).expand(len(latents), -1),
            return_dict=False,
        )[0]
        clean: Tensor = latents - sigma * epsilon.to(latents.dtype)
        return clean

    @torch.no_grad()
    def sample_latents(
        self,
        tokens: Float[Tensor, "batch tokens features"],
        *,
        unconditional_tokens: Float[Tensor, "batch tokens features"],
        initial_latents: Float[Tensor, "batch channels height width"],
        steps: int = 38,
        guidance_scale: float = 5.0,
    ) -> Float[Tensor, "batch channels height width"]:
        """Sample clean latents from initial noise of unit variance, in `steps` evaluations."""
        sigmas = noise_levels(steps)
        start = initial_latents * (1 + sigmas[0] ** 2).sqrt()
        conditions = (tokens, unconditional_tokens)
        return self._sample(start, sigmas, conditions, scale=guidance_scale)

    @torch.no_grad()
    def refine_latents(
        self,
        latents: Float[Tensor, "batch channels height width"],
        tokens: Float[Tensor, "batch tokens features"],
        *,
        unconditional_tokens: Float[Tensor, "batch tokens features"],
        noise: Float[Tensor, "batch channels height width"],
        steps: int = 25,
        last_sigmas: int = 13,
        guidance_scale: float = 5.0,
        vectors: tuple[Tensor, Tensor] | None = None,
    ) -> Float[Tensor, "batch channels height width"]:
        """Add noise to latents and denoise them (image to image).

        Parameters
        ----------
        latents
            Clean latents.
        tokens
            Tokens of the cross-attention.
        unconditional_tokens
            Tokens of the negative condition.
        noise
            Standard normal noise.
        steps
            Evaluations of the U-Net from pure noise.
        last_sigmas
            Number of the last of ``steps + 1`` noise levels that are visited: one more than the
            evaluations of the U-Net.
        guidance_scale
            Scale of classifier-free guidance.
        vectors
            Size vectors of the two conditions; by default of 768 x 768.

        Returns
        -------
        Tensor
            Clean latents.
        """
        sigmas = noise_levels(steps)[-last_sigmas:]
        start = latents + noise.to(latents) * sigmas[0].to(latents)
        conditions = (tokens, unconditional_tokens)
        return self._sample(start, sigmas, conditions, scale=guidance_scale, vectors=vectors)

    def _sample(
        self,
        latents: Tensor,
        sigmas: Tensor,
        conditions: tuple[Tensor, Tensor],
        *,
        scale: float,
        vectors: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        device = self.device
        tokens = [c.to(device) for c in conditions]
        size = self.size_vector()
        sizes = [v.to(device).expand(len(latents), -1) for v in (vectors or (size, size))]
        denoise: LatentDenoiser
        if scale == 1:
            denoise = self._condition(tokens[0], sizes[0])
        elif self.sampling.batched_guidance:
            both = self._condition(torch.cat(tokens[::-1]), torch.cat(sizes[::-1]))

            def denoise(x: Tensor, sigma: Tensor) -> Tensor:
                both_x, both_sigma = torch.cat([x, x]), torch.cat([sigma, sigma])
                without, conditional = both(both_x, both_sigma).chunk(2)
                clean: Tensor = without + scale * (conditional - without)
                return clean
        else:
            pair = [self._condition(t, v) for t, v in zip(tokens, sizes, strict=True)]
            denoise = guided(pair[0], pair[1], scale=scale)
        with self._loaded(self.unet):
            return sample_euler(denoise, latents.to(device), sigmas)

    def _condition(self, tokens: Tensor, vector: Tensor) -> LatentDenoiser:
        return lambda latents, sigma: self.denoise(latents, sigma, tokens, vector)

    @torch.no_grad()
    def decode_latents(
        self, latents: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch rgb height8 width8"]:
        """Decode latents with the VAE to RGB, nominally in [-1, 1], not clamped."""
        vae: Any = self.vae
        with self._loaded(self.vae):
            parts = [
                vae.decode(part.to(self.device).float() / SDXL_SCALE, return_dict=False)[0]
                for part in latents.split(self.sampling.decode_batch)
            ]
        return torch.cat(parts)

    @torch.no_grad()
    def encode_images(
        self,
        images: Float[Tensor, "batch rgb height8 width8"],
        *,
        noise: Float[Tensor, "batch channels height width"] | None = None,
    ) -> Float[Tensor, "batch channels height width"]:
        """Encode RGB images in [0, 1], of sides that are multiples of 8, with the VAE.

        Standard normal `noise` samples latents, as released; by default their mode is returned.
        """
        vae: Any = self.vae
        with self._loaded(self.vae):
            parts = [
                vae.encode(part.to(self.device).float() * 2 - 1).latent_dist
                for part in images.split(self.sampling.decode_batch)
            ]
        latents = torch.cat([part.mean for part in parts])
        if noise is not None:
            latents = latents + torch.cat([part.std for part in parts]) * noise.to(latents)
        return latents * SDXL_SCALE

    @torch.no_grad()
    def decode(
        self, tokens: Float[Tensor, "batch tokens features"], *, seeds: Sequence[int]
    ) -> Float[Tensor, "batch rgb height width"]:
        """Generate one image per row of image tokens, as released.

        Parameters
        ----------
        tokens
            Image tokens.
        seeds
            One seed per image; an image does not depend on the rest of its batch.

        Returns
        -------
        Tensor
            RGB in [0, 1].
        """
        s = self.sampling
        config: Any = self.unet.config
        shape = (config.in_channels, s.size // 8, s.size // 8)
        first = noise_levels(s.steps)[0]
        flat = image_noise(seeds, (1, 1, 1), stream="unclip offset") * s.offset_noise
        noise = image_noise(seeds, shape, stream="unclip noise") + flat
        # Two independent noises, as released: the start is a little wider than unit variance.
        start = image_noise(seeds, shape, stream="unclip") + noise * first
        latents = self.sample_latents(
            tokens.float(),
            unconditional_tokens=image_noise(seeds, tokens.shape[1:], stream="unclip tokens"),
            initial_latents=start / (1 + first**2).sqrt(),
            steps=s.steps,
            guidance_scale=s.guidance_scale,
        )
        scale, shift = s.brightness
        return (self.decode_latents(latents) * scale + shift).clamp(0, 1)
