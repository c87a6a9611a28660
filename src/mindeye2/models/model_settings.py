"""Sizes of the MindEye2 model, its heads and its prior."""

from typing import Literal

from pydantic import Field, model_validator

from mindeye2.core.settings import Settings

__all__ = ["LowLevelSettings", "ModelSettings", "PriorSettings"]


class LowLevelSettings(Settings):
    """Sizes of the low-level head. Without an upsampler it is one linear layer."""

    channels: int = Field(default=64, ge=1)
    """Channels of the autoencoder's latents."""

    size: int = Field(default=7, ge=1)
    """Height and width that the linear layer predicts: latents, or maps of a quarter the size."""

    coarse_channels: int = Field(default=0, ge=0)
    """Channels of the coarse maps to be upsampled four times; 0 is no upsampler. Released: 64."""

    n_maps: int = Field(default=0, ge=0)
    """Width of the teacher's feature maps, 0 for no teacher. Released: 512."""

    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Drop probability of the coarse maps."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of the predicted latents."""
        # The upsampler doubles the size of the coarse maps twice.
        side = 4 * self.size if self.coarse_channels else self.size
        return self.channels, side, side

    @model_validator(mode="after")
    def _maps_need_coarse_channels(self) -> "LowLevelSettings":
        if self.n_maps and not self.coarse_channels:
            raise ValueError(
                f"n_maps={self.n_maps} needs coarse maps, from which they are projected: set "
                "coarse_channels above 0, or n_maps=0"
            )
        return self


class PriorSettings(Settings):
    """Sizes of the diffusion prior."""

    depth: int = Field(default=2, ge=1)
    """Layers of attention and feed-forward. Released: 6."""

    n_heads: int = Field(default=4, ge=1)
    """Query heads. Released: 32."""

    head_width: int = Field(default=32, ge=2)
    """Width of a head, even. Released: 52."""

    feedforward_multiple: int = Field(default=2, ge=1)
    """Hidden width of the feed-forward layers divided by the width of a token."""

    n_levels: int = Field(default=100, ge=2)
    """Noise levels."""

    condition_dropout: float = Field(default=0.2, ge=0, lt=1)
    """Probability that a training item loses its condition."""

    target_dropout: float = Field(default=0.2, ge=0, lt=1)
    """Probability that a training item loses its noised tokens."""

    predict_residual: bool = True
    """Predict the backbone tokens plus a correction that starts at zero. Released: false."""

    condition_in_sequence: bool = False
    """Concatenate condition and noised tokens, or add them: half the time. Released: true."""

    fused_kernels: bool = True
    """Use fused kernels instead of the released order of operations. Released: false."""

    released_ddim: bool = False
    """Sample with the noise levels and tables of the released code. Released: true."""


class ModelSettings(Settings):
    """Sizes of the MindEye2 model; voxel counts come from the prepared data set."""

    n_tokens: int = Field(default=49, ge=1)
    """Tokens of the target embedding."""

    n_features: int = Field(default=128, ge=4)
    """Width of a token, even."""

    n_latent: int = Field(default=384, ge=1)
    """Width of the shared latent space."""

    trunk: Literal["residual", "released"] = "residual"
    """Residual blocks, or the released mixer blocks, which only add a constant."""

    n_blocks: int = Field(default=4, ge=0)
    """Blocks of the trunk; 0 makes the backbone linear."""

    dropout: float = Field(default=0.15, ge=0, lt=1)
    """Drop probability in each block of the trunk."""

    residual_projector: bool = True
    """Retrieval tokens are backbone tokens plus a correction that starts at 0. Released: false."""

    lowlevel: LowLevelSettings | None = LowLevelSettings()
    """The low-level head, or none."""

    prior: PriorSettings = PriorSettings()
    """The diffusion prior."""

    @model_validator(mode="after")
    def _even_widths(self) -> "ModelSettings":
        for name, width in (
            ("n_features", self.n_features),
            ("prior.head_width", self.prior.head_width),
        ):
            if width % 2:
                raise ValueError(f"{name} must be even, got {width}")
        return self
