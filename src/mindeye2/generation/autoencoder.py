"""Small autoencoder of images, the latent space of the image decoder at laptop size.

It replaces Stable Diffusion's VAE of full size: unCLIP samples its latents, and the low-level head
of the brain decoder predicts them.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mindeye2.core.settings import Settings

__all__ = ["Autoencoder", "AutoencoderSettings", "build_autoencoder"]


class AutoencoderSettings(Settings):
    """Sizes of the autoencoder; its latents are 16 times smaller than its images."""

    size: Annotated[int, Field(ge=32, multiple_of=16)] = 112
    """Side in pixels of the training images."""

    latent_channels: int = 64
    """Channels of the latents."""

    widths: tuple[int, int, int] = (32, 64, 128)
    """Channels at 1/4, 1/8 and 1/16 of the image's size."""

    n_blocks: int = 2
    """Residual blocks at each size."""

    noise: float = 0.05
    """Standard deviation of the noise that training adds to the latents, which lie in (-3, 3): it
    makes neighbouring latents decode to similar images."""


class _Block(nn.Module):
    """Residual block of two 3 x 3 convolutions, initialised to the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Conv2d(width, width, 3, padding=1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.inner = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = F.silu(x + self.inner(x))
        return out


class _WithShortcut(nn.Module):
    """Sum of a network and a linear map between 16 x 16 patches and latents.

    The linear map alone is a PCA of patches and is learned in a few steps; the network adds the
    context of a patch (after Chen et al. 2024, arXiv:2410.10733).
    """

    def __init__(self, network: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x) + self.shortcut(x)
        return out


class Autoencoder(nn.Module):
    """Autoencoder of images with bounded latents.

    Parameters
    ----------
    encoder
        Maps images in [-1, 1] to latents of any range.
    decoder
        Maps latents in (-3, 3) to images in [-1, 1].
    size
        Side in pixels of the training images.
    noise
        Standard deviation of the noise on latents in training.
    latent_channels
        Channels of the latents.
    """

    latent_scale: Tensor
    latent_shift: Tensor

    def __init__(
        self,
        *,
        encoder: nn.Module,
        decoder: nn.Module,
        size: int,
        noise: float,
        latent_channels: int,
    ) -> None:
        super().__init__()
        self.size = size
        self.encoder = encoder
        self.decoder = decoder
        self.noise = noise
        self.register_buffer("latent_shift", torch.zeros(latent_channels, 1, 1))
        self.register_buffer("latent_scale", torch.ones(latent_channels, 1, 1))

    def encode(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch channels height16 width16"]:
        """Encode RGB images in [0, 1], of sides that are multiples of 16, to latents."""
        return (self._bounded(images) - self.latent_shift) / self.latent_scale

    def decode(
        self, latents: Float[Tensor, "batch channels height16 width16"], *, clamped: bool = True
    ) -> Float[Tensor, "batch rgb height width"]:
        """Decode latents to RGB images in [0, 1]; without `clamped` nominally, with gradient."""
        # Sampled latents may leave the range of the encoder.
        bounded = (latents * self.latent_scale + self.latent_shift).clamp(-3, 3)
        images: Tensor = self.decoder(bounded) / 2 + 0.5
        return images.clamp(0, 1) if clamped else images

    def forward(
        self,
        images: Float[Tensor, "batch rgb height width"],
        *,
        noise: Float[Tensor, "batch channels height16 width16"],
    ) -> Float[Tensor, "batch rgb height width"]:
        """Reconstruct images through noisy latents, as in training, without clamping.

        Parameters
        ----------
        images
            RGB in [0, 1].
        noise
            Standard normal, of the latents' shape.

        Returns
        -------
        Tensor
            RGB, nominally in [0, 1].
        """
        latents = self._bounded(images)
        out: Tensor = self.decoder(latents + self.noise * noise.to(latents)) / 2 + 0.5
        return out

    def _bounded(self, images: Tensor) -> Tensor:
        latents: Tensor = self.encoder(images * 2 - 1)
        return 3 * torch.tanh(latents / 3)

    @torch.no_grad()
    def standardise(self, batches: Sequence[Float[Tensor, "_ rgb height width"]]) -> None:
        """Make latents of training images zero-mean and unit-variance per channel."""
        latents = torch.cat([self._bounded(b).movedim(1, 0).flatten(1) for b in batches], dim=1)
        self.latent_shift.copy_(latents.mean(dim=1)[:, None, None])
        self.latent_scale.copy_(latents.std(dim=1)[:, None, None].clamp_min(1e-3))


def build_autoencoder(settings: AutoencoderSettings) -> Autoencoder:
    """Build a freshly initialised autoencoder."""
    fine, middle, coarse = settings.widths

    def blocks(width: int, count: int) -> list[_Block]:
        return [_Block(width) for _ in range(count)]

    n = settings.n_blocks
    encoder = nn.Sequential(
        nn.PixelUnshuffle(4),
        nn.Conv2d(48, fine, 3, padding=1),
        *blocks(fine, 1),
        nn.Conv2d(fine, middle, 4, stride=2, padding=1),
        *blocks(middle, n),
        nn.Conv2d(middle, coarse, 4, stride=2, padding=1),
        *blocks(coarse, n),
        nn.Conv2d(coarse, settings.latent_channels, 1),
    )
    decoder = nn.Sequential(
        nn.Conv2d(settings.latent_channels, coarse, 3, padding=1),
        *blocks(coarse, n),
        *_double(coarse, middle),
        *blocks(middle, n),
        *_double(middle, fine),
        *blocks(fine, n),
        *_double(fine, fine // 2),
        *blocks(fine // 2, 1),
        nn.Conv2d(fine // 2, 12, 3, padding=1),
        nn.PixelShuffle(2),
    )
    latent = settings.latent_channels
    return Autoencoder(
        encoder=_WithShortcut(
            encoder, nn.Sequential(nn.PixelUnshuffle(16), nn.Conv2d(768, latent, 1))
        ),
        decoder=_WithShortcut(
            decoder, nn.Sequential(nn.Conv2d(latent, 768, 1), nn.PixelShuffle(16))
        ),
        size=settings.size,
        noise=settings.noise,
        latent_channels=settings.latent_channels,
    )


def _double(wide: int, narrow: int) -> list[nn.Module]:
    return [nn.Conv2d(wide, 4 * narrow, 1), nn.PixelShuffle(2)]
