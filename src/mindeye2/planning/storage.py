"""Host memory and disk of a training, by arithmetic."""

from mindeye2.models.encoding_models import N_COMPONENTS
from mindeye2.models.model_settings import ModelSettings
from mindeye2.planning.data_size import DataSize
from mindeye2.planning.footprint import Footprint
from mindeye2.stages.train import AdaptTraining, SharedTraining, TargetSettings

__all__ = ["disk_bytes", "host_bytes", "start_bytes"]

IMPORTS = 0.7 * 2**30
"""Bytes of a process that has imported PyTorch and its CUDA libraries."""


def _state(settings: SharedTraining | AdaptTraining, found: Footprint) -> float:
    """Return the bytes of weights, moments and running averages."""
    averaged = isinstance(settings, SharedTraining) and settings.optimizer.ema_decay > 0
    return found.moments + found.moments / 2 * (1 + averaged)


def host_bytes(
    settings: SharedTraining | AdaptTraining, found: Footprint, *, n_gpus: int
) -> dict[str, float]:
    """Return the bytes of host memory by purpose; betas and targets are read from disk."""
    return {
        "imports": n_gpus * IMPORTS,
        "the model of each process": n_gpus * float(found.weights),
        "a state while it is written": _state(settings, found),
    }


def start_bytes(
    settings: SharedTraining | AdaptTraining, found: Footprint, *, data: DataSize
) -> float:
    """Return the bytes that the closed-form start needs on its device."""
    if isinstance(settings, SharedTraining) and not settings.closed_form_start:
        return 0.0
    # Sums of all trials and of a fold, their difference, eigenvectors and work space: seven
    # matrices of voxels by voxels (benchmarks/README.md).
    return found.weights + 7 * 4.0 * max(data.n_voxels.values()) ** 2


def disk_bytes(
    settings: SharedTraining | AdaptTraining,
    found: Footprint,
    *,
    data: DataSize,
    sizes: ModelSettings,
) -> dict[str, float]:
    """Return the bytes on disk by purpose."""
    # An adaptation predicts the targets of its pretrained run by default.
    targets = settings.targets or TargetSettings(tokens="its tokens", latents="its latents")
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
    if len(data.n_voxels) > 1:
        # An encoding model of every voxel in float16; forward model and whitening in float32.
        encoding = 2.0 * N_COMPONENTS * sum(data.n_voxels.values())
        needs["encoding models and forward model"] = encoding + 2 * 4.0 * sizes.n_latent**2
    needs["two states of the run"] = 2 * _state(settings, found)
    if isinstance(settings, AdaptTraining) and len(settings.levels) > 1:
        needs["a state of the choice of the level"] = _state(settings, found)
    if isinstance(settings, SharedTraining) and settings.closed_form_start:
        set_by_it = found.parameters["ridge"] + found.largest_layer
        scores = data.n_images * sizes.n_latent
        latents = (settings.prior.n_folds - 1) * sum(data.n_trials.values()) * sizes.n_latent
        needs["closed form, until the run is finished"] = 4.0 * (set_by_it + scores + latents)
    return needs
