"""unCLIP at laptop size: a latent diffusion model conditioned on image tokens.

The U-Net is diffusers' ``UNet2DConditionModel``, with cross-attention to the image tokens. Each
latent position also receives the token of its grid position as input channels, so that the
alignment of tokens and positions need not be learned.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from mindeye2.core.errors import require
from mindeye2.core.runtime import generator
from mindeye2.core.settings import Settings
from mindeye2.generation.autoencoder import Autoencoder

__all__ = ["Unclip", "UnclipSettings", "build_unclip", "image_noise"]


class UnclipSettings(Settings):
    """Sizes and schedule of the latent diffusion model."""

    latent_channels: int = 64
    """Channels of the latents."""

    latent_size: int = 7
    """Side of the latents."""

    n_features: int = 128
    """Width of an image token."""

    widths: tuple[int, ...] = (160,)
    """Channels of each resolution of the U-Net, fine to coarse."""

    n_layers: int = 1
    """Residual blocks at each resolution."""

    head_width: int = 32
    """Channels of an attention head."""

    aligned: bool = True
    """Add the token of a position to its input channels, besides cross-attention to all tokens."""

    prediction: Literal["epsilon", "sample"] = "sample"
    """Prediction target of the U-Net: the noise, as at full size, or the clean latents, which a
    network narrower than the noise can learn (Li & He 2025, arXiv:2511.13720)."""

    token_noise: float = 0.5
    """Largest standard deviation of the noise that training adds to the (z-scored) tokens, sampled
    per image from 0 up: tokens decoded from betas are never exact."""

    sampling_steps: int = 2
    """DDIM steps of an image."""


def image_noise(
    seeds: Sequence[int], shape: tuple[int, ...], *, stream: str
) -> Float[Tensor, "batch ..."]:
    """Sample standard normal noise of each image from its own seed, on the CPU.

    An image's noise does not depend on the rest of the batch; `stream` names the random stream.
    """
    return torch.stack([torch.randn(shape, generator=generator(s, stream)) for s in seeds])


class Unclip(nn.Module):
    """A diffusion model over latents, conditioned on image tokens.

    Parameters
    ----------
    unet
        diffusers' ``UNet2DConditionModel``.
    autoencoder
        Decodes latents to images; not trained here.
    scheduler
        diffusers' ``DDIMScheduler``, which holds the noise schedule.
    settings
        Sampling and token noise.
    """

    def __init__(
        self,
        *,
        unet: nn.Module,
        autoencoder: Autoencoder,
        scheduler: Any,  # noqa: ANN401 - a class of an optional library
        settings: UnclipSettings,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.shortcut: nn.Module | None = None
        if settings.aligned and settings.prediction == "sample":
            # The linear part is learned in a few steps; the U-Net adds the rest.
            self.shortcut = nn.Conv2d(settings.n_features, settings.latent_channels, 3, padding=1)
        self.autoencoder = autoencoder.requires_grad_(requires_grad=False)
        self.scheduler = scheduler
        self.settings = settings

    @property
    def n_levels(self) -> int:
        """Number of noise levels; the last is pure noise where `prediction` is ``"sample"``."""
        return int(self.scheduler.config.num_train_timesteps)

    def own_state(self) -> dict[str, Tensor]:
        """Return the state dict without the autoencoder's weights."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith("autoencoder.")}

    def load_own_state(self, state: dict[str, Tensor]) -> None:
        """Load the complete state dict of `own_state`."""
        autoencoder = {k: v for k, v in self.state_dict().items() if k.startswith("autoencoder.")}
        self.load_state_dict({**state, **autoencoder})

    def predict(
        self,
        latents: Float[Tensor, "batch channels height width"],
        times: Int[Tensor, " batch"],
        tokens: Float[Tensor, "batch tokens features"],
    ) -> Float[Tensor, "batch channels height width"]:
        """Predict noise or clean latents, see ``settings.prediction``.

        `times` are indices of noise levels, from 0 (clean); `tokens` are a square grid, row
        by row, where they are `aligned`.
        """
        if not self.settings.aligned:
            return self._unet(latents, times, tokens)
        side = round(tokens.shape[1] ** 0.5)
        grid = tokens.transpose(1, 2).unflatten(2, (side, side))
        if side != latents.shape[-1]:
            grid = F.interpolate(grid, latents.shape[-2:], mode="bilinear", antialias=True)
        out = self._unet(torch.cat([latents, grid], dim=1), times, tokens)
        return out if self.shortcut is None else out + self.shortcut(grid)

    def _unet(self, latents: Tensor, times: Tensor, tokens: Tensor) -> Tensor:
        out: Tensor = self.unet(latents, times, encoder_hidden_states=tokens, return_dict=False)[0]
        return out

    def sample_noise(
        self,
        latents: tuple[int, ...],
        tokens: tuple[int, ...],
        *,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Sample everything random of one training batch.

        Parameters
        ----------
        latents
            Shape of the latents of the whole batch.
        tokens
            Shape of its tokens.
        generator
            On the CPU.

        Returns
        -------
        dict
            Keyword arguments of `forward`, one row per image: ``times``, ``noise`` and
            ``token_noise``.
        """
        n = latents[0]
        # Stratified levels: every batch covers the schedule, which calms the loss.
        spread = (torch.randperm(n, generator=generator) + torch.rand(n, generator=generator)) / n
        return {
            "times": (spread * self.n_levels).long(),
            "noise": torch.randn(latents, generator=generator),
            "token_noise": self.sample_token_noise(tokens, generator=generator),
        }

    def sample_token_noise(self, tokens: tuple[int, ...], *, generator: torch.Generator) -> Tensor:
        """Sample the noise that training adds to tokens, of another strength for each image."""
        strength = self.settings.token_noise * torch.rand(tokens[0], 1, 1, generator=generator)
        return strength * torch.randn(tokens, generator=generator)

    def forward(
        self,
        latents: Float[Tensor, "batch channels height width"],
        tokens: Float[Tensor, "batch tokens features"],
        *,
        times: Int[Tensor, " batch"],
        noise: Float[Tensor, "batch channels height width"],
        token_noise: Float[Tensor, "batch tokens features"],
    ) -> dict[str, Tensor]:
        """Compute the training loss of a batch.

        Parameters
        ----------
        latents
            Clean latents of the images.
        tokens
            Image tokens of the images.
        times
            Noise level of each image.
        noise
            Noise of the latents.
        token_noise
            Noise of the tokens; all three as `sample_noise` gives them.

        Returns
        -------
        dict
            ``loss``: mean squared error of the prediction.
        """
        noise, times = noise.to(latents), times.to(latents.device)
        noisy = self.scheduler.add_noise(latents, noise, times)
        target = noise if self.settings.prediction == "epsilon" else latents
        prediction = self.predict(noisy, times, tokens + token_noise.to(tokens))
        return {"loss": F.mse_loss(prediction, target)}

    @torch.no_grad()
    def sample_latents(
        self, tokens: Float[Tensor, "batch tokens features"], *, seeds: Sequence[int]
    ) -> Float[Tensor, "batch channels height width"]:
        """Sample latents with DDIM (Song et al. 2021, arXiv:2010.02502) at eta 0.

        Parameters
        ----------
        tokens
            Image tokens.
        seeds
            One seed per image; an image's latents do not depend on the rest of the batch.

        Returns
        -------
        Tensor
            Clean latents.
        """
        side = self.settings.latent_size
        shape = (self.settings.latent_channels, side, side)
        latents = image_noise(seeds, shape, stream="unclip").to(tokens)
        self.scheduler.set_timesteps(self.settings.sampling_steps, device=tokens.device)
        for time in self.scheduler.timesteps:
            prediction = self.predict(latents, time.expand(len(latents)), tokens)
            latents = self.scheduler.step(prediction, time, latents, return_dict=False)[0]
        return latents

    @torch.no_grad()
    def decode(
        self, tokens: Float[Tensor, "batch tokens features"], *, seeds: Sequence[int]
    ) -> Float[Tensor, "batch rgb height width"]:
        """Generate one RGB image in [0, 1] per row of tokens, each from its own seed."""
        return self.autoencoder.decode(self.sample_latents(tokens, seeds=seeds))


def build_unclip(settings: UnclipSettings, autoencoder: Autoencoder) -> Unclip:
    """Build a freshly initialised image decoder on a trained autoencoder."""
    diffusers = require("diffusers", extra="demo", purpose="The unCLIP decoder")
    token_channels = settings.n_features if settings.aligned else 0
    unet = diffusers.UNet2DConditionModel(
        sample_size=settings.latent_size,
        in_channels=settings.latent_channels + token_channels,
        out_channels=settings.latent_channels,
        down_block_types=("CrossAttnDownBlock2D",) * len(settings.widths),
        up_block_types=("CrossAttnUpBlock2D",) * len(settings.widths),
        block_out_channels=settings.widths,
        layers_per_block=settings.n_layers,
        cross_attention_dim=settings.n_features,
        attention_head_dim=[w // settings.head_width for w in settings.widths],
        norm_num_groups=16,
        use_linear_projection=True,
    )
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type=settings.prediction,
        clip_sample=False,
        timestep_spacing="trailing",
        rescale_betas_zero_snr=settings.prediction == "sample",
    )
    return Unclip(unet=unet, autoencoder=autoencoder, scheduler=scheduler, settings=settings)
