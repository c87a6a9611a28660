"""The low-level head: autoencoder latents of a blurry image, and feature maps for its training."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LowLevelHead", "Upsampler", "maps_projector"]

_EPS = 1e-6
"""Epsilon of every group norm of the upsampler, as in Stable Diffusion's autoencoder."""


class ResnetBlock(nn.Module):
    """Two convolutions with a skip connection, projected where the channel count changes."""

    def __init__(self, n_in: int, n_out: int, *, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, n_in, eps=_EPS)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, n_out, eps=_EPS)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.shortcut = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels2 height width"]:
        """Transform feature maps, keeping height and width."""
        inner = self.conv1(F.silu(self.norm1(x)))
        inner = self.conv2(F.silu(self.norm2(inner)))
        out: Tensor = self.shortcut(x) + inner
        return out


class SpatialAttention(nn.Module):
    """Self-attention of one head over all positions of a feature map, with a skip connection."""

    def __init__(self, n_channels: int, *, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, n_channels, eps=_EPS)
        self.query = nn.Linear(n_channels, n_channels)
        self.key = nn.Linear(n_channels, n_channels)
        self.value = nn.Linear(n_channels, n_channels)
        self.output = nn.Linear(n_channels, n_channels)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Attend from all positions to all positions."""
        positions = self.norm(x).flatten(2).mT
        attended = F.scaled_dot_product_attention(
            self.query(positions)[:, None],
            self.key(positions)[:, None],
            self.value(positions)[:, None],
        )[:, 0]
        out: Tensor = x + self.output(attended).mT.unflatten(2, x.shape[2:])
        return out


class Upsampler(nn.Module):
    """The decoder of a small autoencoder: attention at the coarsest level, then upsampled by twos.

    `widths` are the channels of the levels, finest first, each a multiple of `groups`; each level
    has `layers` residual blocks.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        widths: tuple[int, ...] = (32, 64, 128),
        layers: int = 2,
        groups: int = 32,
    ) -> None:
        super().__init__()
        coarse_first = widths[::-1]
        top = coarse_first[0]
        self.input = nn.Conv2d(n_in, top, 3, padding=1)
        self.middle = nn.Sequential(
            ResnetBlock(top, top, groups=groups),
            SpatialAttention(top, groups=groups),
            ResnetBlock(top, top, groups=groups),
        )
        levels: list[nn.Module] = []
        for i, width in enumerate(coarse_first):
            before = coarse_first[max(i - 1, 0)]
            level: list[nn.Module] = [
                ResnetBlock(before if j == 0 else width, width, groups=groups)
                for j in range(layers)
            ]
            if i < len(widths) - 1:
                level += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1)]
            levels.append(nn.Sequential(*level))
        self.levels = nn.Sequential(*levels)
        self.output = nn.Sequential(
            nn.GroupNorm(groups, widths[0], eps=_EPS),
            nn.SiLU(),
            nn.Conv2d(widths[0], n_out, 3, padding=1),
        )

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels2 height2 width2"]:
        """Predict latents, larger by ``2 ** (len(widths) - 1)`` in height and width."""
        out: Tensor = self.output(self.levels(self.middle(self.input(x))))
        return out


def maps_projector(n_in: int, n_features: int) -> nn.Sequential:
    """Make three convolutions of size 1 from coarse feature maps to a teacher's features."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_features, 1, bias=False),
        nn.GroupNorm(1, n_features),
        nn.ReLU(),
        nn.Conv2d(n_features, n_features, 1, bias=False),
        nn.GroupNorm(1, n_features),
        nn.ReLU(),
        nn.Conv2d(n_features, n_features, 1),
    )


class LowLevelHead(nn.Module):
    """Predict autoencoder latents of a blurry image.

    Without `upsampler` the linear layer predicts the latents themselves. With it the linear layer
    predicts coarse feature maps of size `shape`, channels first, which are dropped out, normalised
    and upsampled, and which `maps` projects to a teacher's features for a contrastive loss.
    """

    def __init__(
        self,
        linear: nn.Linear,
        *,
        shape: tuple[int, int, int],
        dropout: float = 0.0,
        upsampler: nn.Module | None = None,
        maps: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.linear = linear
        self.shape = shape
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.GroupNorm(1, shape[0]) if upsampler is not None else None
        self.upsampler = upsampler
        self.maps = maps

    def forward(
        self, latents: Float[Tensor, "batch latent"]
    ) -> tuple[
        Float[Tensor, "batch channels height width"], Float[Tensor, "batch tokens features"] | None
    ]:
        """Predict autoencoder latents, and feature maps (one row per position) or None."""
        x = self.linear(latents)
        if self.upsampler is None or self.norm is None:
            return x.unflatten(1, self.shape), None
        coarse = self.norm(self.dropout(x).unflatten(1, self.shape))
        features = None if self.maps is None else self.maps(coarse).flatten(2).mT
        return self.upsampler(coarse), features
