"""The MindEye2 model: ridge, backbone, retrieval and low-level heads, prior; and its builder."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from mindeye2.models.backbone import Backbone, ReleasedMixer, ResidualTrunk, mlp_block
from mindeye2.models.lowlevel import LowLevelHead, Upsampler, maps_projector
from mindeye2.models.model_settings import LowLevelSettings, ModelSettings, PriorSettings
from mindeye2.models.prior import DiffusionPrior
from mindeye2.models.prior_network import PriorNetwork
from mindeye2.models.projector import Projector
from mindeye2.models.ridge import SubjectRidge, check_betas

__all__ = ["MindEye", "MindEyeOutput", "build_mindeye"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MindEyeOutput:
    """Predictions for one batch of trials."""

    backbone_tokens: Float[Tensor, "batch tokens features"]
    """Regressed image tokens, shrunk towards the mean; the condition of the prior."""

    retrieval_tokens: Float[Tensor, "batch tokens features"]
    """Tokens for contrastive losses and retrieval; compare them by cosine only."""

    lowlevel_latents: Float[Tensor, "batch channels height width"] | None
    """Autoencoder latents of a blurry image, or None where the model has no low-level head."""

    lowlevel_maps: Float[Tensor, "batch tokens2 features2"] | None
    """Feature maps to compare with those of a teacher, one row per position, or None."""


class MindEye(nn.Module):
    """Predict image tokens, retrieval tokens and blurry-image latents from betas.

    Parameters
    ----------
    ridge
        Voxels to the shared latent space, one linear layer per subject.
    backbone
        Shared latents to refined latents and backbone tokens.
    projector
        Backbone tokens to retrieval tokens.
    lowlevel
        Refined latents to autoencoder latents, or None.
    prior
        Diffusion prior of image tokens given backbone tokens; sampled separately.

    References
    ----------
    Scotti et al. 2024, "MindEye2", arXiv:2403.11207.
    """

    def __init__(
        self,
        *,
        ridge: SubjectRidge,
        backbone: Backbone,
        projector: Projector,
        lowlevel: LowLevelHead | None,
        prior: DiffusionPrior,
    ) -> None:
        super().__init__()
        self.ridge = ridge
        self.backbone = backbone
        self.projector = projector
        self.lowlevel = lowlevel
        self.prior = prior

    @property
    def subjects(self) -> list[str]:
        """List the subjects whose betas the model can decode."""
        return list(self.ridge.maps)

    def forward(self, betas: Float[Tensor, "batch voxels"], *, subject: str) -> MindEyeOutput:
        """Predict from the betas of one subject.

        Parameters
        ----------
        betas
            Z-scored betas.
        subject
            The subject that all of `betas` come from.

        Returns
        -------
        MindEyeOutput
            Predictions of all heads. Raises ``ValueError`` through `SubjectRidge` and
            `check_betas` for an unknown subject, another voxel count, and values that are not
            finite.
        """
        latents = self.ridge(betas, subject=subject)
        check_betas(betas, subject=subject)
        return self.heads(latents)

    def heads(self, latents: Float[Tensor, "batch latent"]) -> MindEyeOutput:
        """Predict from shared latents, whose rows may come from several subjects."""
        refined, tokens = self.backbone(latents)
        lowlevel, maps = (None, None) if self.lowlevel is None else self.lowlevel(refined)
        return MindEyeOutput(
            backbone_tokens=tokens,
            retrieval_tokens=self.projector(tokens),
            lowlevel_latents=lowlevel,
            lowlevel_maps=maps,
        )


def build_mindeye(settings: ModelSettings, n_voxels: Mapping[str, int]) -> MindEye:
    """Build the model that `settings` describes.

    Parameters
    ----------
    settings
        Sizes.
    n_voxels
        Voxel count by subject name.

    Returns
    -------
    MindEye
        Initialised from PyTorch's process-wide generator, in float32, on the default device.
    """
    s = settings
    return MindEye(
        ridge=SubjectRidge(n_voxels, n_latent=s.n_latent),
        backbone=Backbone(
            trunk=_build_trunk(s),
            output=nn.Linear(s.n_latent, s.n_tokens * s.n_features),
            n_tokens=s.n_tokens,
        ),
        projector=Projector(s.n_features, residual=s.residual_projector),
        lowlevel=None if s.lowlevel is None else _build_lowlevel(s.lowlevel, s.n_latent),
        prior=_build_prior(s.prior, n_tokens=s.n_tokens, n_features=s.n_features),
    )


def _build_trunk(s: ModelSettings) -> nn.Module:
    if s.trunk == "residual":
        return ResidualTrunk(
            [mlp_block(s.n_latent, dropout=s.dropout, zero_init=True) for _ in range(s.n_blocks)]
        )
    return ReleasedMixer(
        latent_blocks=[mlp_block(s.n_latent, dropout=s.dropout) for _ in range(s.n_blocks)],
        sequence_blocks=[mlp_block(1, dropout=s.dropout) for _ in range(s.n_blocks)],
    )


def _build_lowlevel(s: LowLevelSettings, n_latent: int) -> LowLevelHead:
    channels = s.coarse_channels or s.channels
    return LowLevelHead(
        nn.Linear(n_latent, channels * s.size**2),
        shape=(channels, s.size, s.size),
        dropout=s.dropout,
        upsampler=Upsampler(s.coarse_channels, s.channels) if s.coarse_channels else None,
        maps=maps_projector(s.coarse_channels, s.n_maps) if s.n_maps else None,
    )


def _build_prior(s: PriorSettings, *, n_tokens: int, n_features: int) -> DiffusionPrior:
    network = PriorNetwork(
        n_tokens=n_tokens,
        n_features=n_features,
        depth=s.depth,
        n_heads=s.n_heads,
        head_width=s.head_width,
        feedforward_multiple=s.feedforward_multiple,
        condition_in_sequence=s.condition_in_sequence,
        fused_kernels=s.fused_kernels,
    )
    if s.predict_residual:
        nn.init.zeros_(network.output.weight)
    return DiffusionPrior(
        network,
        n_tokens=n_tokens,
        n_features=n_features,
        n_levels=s.n_levels,
        condition_dropout=s.condition_dropout,
        target_dropout=s.target_dropout,
        predict_residual=s.predict_residual,
        released_ddim=s.released_ddim,
    )
