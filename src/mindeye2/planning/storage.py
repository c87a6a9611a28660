"""Host memory and disk of a training, by arithmetic."""

from mindeye2.models.model_settings import ModelSettings
from mindeye2.planning.data_size import DataSize
from mindeye2.planning.footprint import Footprint
from mindeye2.stages.train import AdaptTraining, SharedTraining, TargetSettings

__all__ = ["disk_bytes", "host_bytes"]

IMPORTS = 0.7 * 2**30
"""Bytes of a process that has imported PyTorch and its CUDA libraries."""


def _state(settings: SharedTraining | AdaptTraining, found: Footprint) -> float:
    """Return the bytes of weights, moments and running averages."""
    averaged = isinstance(settings, SharedTraining) and settings.optimizer.ema_decay > 0
    return found.moments + found.moments / 2 * (1 + averaged)


def host_bytes(
    settings: SharedTraining | AdaptTraining,
    found: Footprint,
    *,
    data: DataSize,
    sizes: ModelSettings,
) -> dict[str, float]:
    """Return the bytes of host memory by purpose; betas and targets are read from disk."""
    needs = {"imports": IMPORTS, "weights, as built or saved": float(found.weights)}
    needs["a state while it is saved"] = _state(settings, found)
    if isinstance(settings, AdaptTraining) or settings.closed_form_start:
        widest = max(data.n_voxels.values())
        components = 4 * sizes.n_latent * sizes.n_tokens * sizes.n_features
        needs["closed form: covariance of voxels"] = 2 * 8.0 * widest**2
        needs["closed form: PCA of the bank"] = 2.0 * components
    return needs


def disk_bytes(
    settings: SharedTraining | AdaptTraining,
    found: Footprint,
    *,
    data: DataSize,
    sizes: ModelSettings,
) -> dict[str, float]:
    """Return the bytes on disk by purpose."""
    targets = settings.targets or TargetSettings()
    needs = {
        "betas": float(data.bytes_of_betas),
        f"bank of {targets.tokens}": float(data.bytes_of_bank((sizes.n_tokens, sizes.n_features))),
    }
    lowlevel = sizes.lowlevel
    if lowlevel is not None:
        latents = data.bytes_of_bank(lowlevel.latent_shape)
        needs[f"bank of {targets.latents}"] = float(latents)
        if settings.losses.maps:
            maps = 2.0 * data.bytes_of_bank((lowlevel.size**2, lowlevel.n_maps))
            needs[f"banks of {targets.maps} and {targets.maps_augmented}"] = maps
    needs["weights of the run"] = float(found.weights)
    needs["two states of the run"] = 2 * _state(settings, found)
    return needs
