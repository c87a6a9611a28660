"""SDXL at full size: its U-Net and autoencoder from diffusers, sampled as the released code does.

With image tokens to attend to it is the published unCLIP; with text, the base model that refines.
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
    """How unCLIP draws; the defaults are the released ones."""

    steps: Annotated[int, Field(ge=1, le=1000)] = 38
    """Evaluations of the U-Net."""

    guidance_scale: float = 5.0
    """How far the picture is pushed away from what random tokens give; 1 halves the work."""

    offset_noise: Annotated[float, Field(ge=0)] = 0.04
    """Standard deviation of the noise that is equal over a picture's latents."""

    size: Annotated[int, Field(ge=8, multiple_of=8)] = 768
    """Side in pixels that is drawn."""

    brightness: tuple[float, float] = (0.8, 0.2)
    """Scale and shift from the autoencoder's output in [-1, 1] to RGB in [0, 1]. The released
    model draws too dark for (.5, .5), presumably because its encoder saw images in [.5, 1]."""

    batched_guidance: bool = True
    """Evaluate with and without condition together: faster on a GPU, twice the memory."""

    decode_batch: Annotated[int, Field(ge=1)] = 2
    """Pictures that the autoencoder decodes together."""


class Sdxl(nn.Module):
    """A latent diffusion model with SDXL's noise schedule.

    Parameters
    ----------
    unet
        diffusers' ``UNet2DConditionModel`` as `build_unet` makes it.
    vae
        diffusers' ``AutoencoderKL``; it stays in float32, because half precision overflows in it.
    sampling
        How `decode` draws.
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
        """Where to compute, which with CPU offload is not where the weights wait."""
        return self._compute or next(self.unet.parameters()).device

    def place(
        self, device: torch.device, *, dtype: torch.dtype = torch.float32, offload: bool = False
    ) -> "Sdxl":
        """Choose where and in what precision to compute.

        Parameters
        ----------
        device
            Where to compute.
        dtype
            Precision of the U-Net: float32, bfloat16 or float16.
        offload
            Keep the weights in main memory, and bring U-Net and autoencoder to the device in turn.

        Returns
        -------
        Sdxl
            This object.
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
        """Embed the sizes that SDXL is told of a picture.

        Parameters
        ----------
        original_size
            Height and width in pixels before cropping.
        crop
            Top and left in pixels of the crop.
        target_size
            Height and width in pixels of the crop: the base model is told, unCLIP is not.

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

    def denoise(  # noqa: PLR0917 - four parts of one noisy picture
        self,
        latents: Float[Tensor, "batch channels height width"],
        sigma: Float[Tensor, " batch"],
        tokens: Float[Tensor, "batch tokens features"],
        vector: Float[Tensor, "_ features2"],
    ) -> Float[Tensor, "batch channels height width"]:
        """Predict clean latents.

        Parameters
        ----------
        latents
            Noisy latents.
        sigma
            Noise level of each, rounded to the nearest training level as released.
        tokens
            What to attend to.
        vector
            One for all, or one per image.

        Returns
        -------
        Tensor
            Clean latents, in the dtype of `latents`.
        """
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
        """Draw latents from noise.

        Parameters
        ----------
        tokens
            What to attend to.
        unconditional_tokens
            What guidance pushes away from.
        initial_latents
            Noise of unit variance.
        steps
            Evaluations of the U-Net.
        guidance_scale
            How far guidance pushes.

        Returns
        -------
        Tensor
            Clean latents.
        """
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
        """Noise a picture's latents half way and denoise them (image to image).

        Parameters
        ----------
        latents
            Clean latents.
        tokens
            What to attend to.
        unconditional_tokens
            What guidance pushes away from.
        noise
            Standard normal noise.
        steps
            Evaluations of the U-Net that the whole way would take.
        last_sigmas
            How many of the ``steps + 1`` noise levels are visited, the last ones: one more than
            the U-Net is evaluated.
        guidance_scale
            How far guidance pushes.
        vectors
            Size vectors of the two conditions; those of 768 x 768 by default.

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
        place = self.device
        given = [c.to(place) for c in conditions]
        size = self.size_vector()
        told = [v.to(place).expand(len(latents), -1) for v in (vectors or (size, size))]
        denoise: LatentDenoiser
        if scale == 1:
            denoise = self._with(given[0], told[0])
        elif self.sampling.batched_guidance:
            both = self._with(torch.cat(given[::-1]), torch.cat(told[::-1]))

            def denoise(x: Tensor, sigma: Tensor) -> Tensor:
                absent, present = both(torch.cat([x, x]), torch.cat([sigma, sigma])).chunk(2)
                guess: Tensor = absent + scale * (present - absent)
                return guess
        else:
            pair = [self._with(g, t) for g, t in zip(given, told, strict=True)]
            denoise = guided(pair[0], pair[1], scale=scale)
        with self._loaded(self.unet):
            return sample_euler(denoise, latents.to(place), sigmas)

    def _with(self, tokens: Tensor, vector: Tensor) -> LatentDenoiser:
        return lambda latents, sigma: self.denoise(latents, sigma, tokens, vector)

    @torch.no_grad()
    def decode_latents(
        self, latents: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch rgb height8 width8"]:
        """Decode latents with the autoencoder.

        Parameters
        ----------
        latents
            As the U-Net sees them.

        Returns
        -------
        Tensor
            RGB, nominally in [-1, 1], not clamped.
        """
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
        """Encode pictures with the autoencoder.

        Parameters
        ----------
        images
            RGB in [0, 1]; sides are multiples of 8.
        noise
            Standard normal noise to sample the latents with, as released; the most likely latents
            by default.

        Returns
        -------
        Tensor
            Latents as the U-Net sees them.
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
        """Draw one picture per row of image tokens, as released.

        Parameters
        ----------
        tokens
            Image tokens.
        seeds
            One seed per image; what is drawn does not depend on the rest of the batch.

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
