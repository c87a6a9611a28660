"""Targets of the brain decoder: the encoders by name, opened and checked against the model."""

from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import Settings, build_settings
from mindeye2.data.prepared import Prepared
from mindeye2.models.checkpoint import LoadedRun
from mindeye2.models.model_settings import ModelSettings
from mindeye2.training.batch_sampler import TrainingTargets
from mindeye2.training.brain_step import LossSettings
from mindeye2.training.trials import TargetBank, load_targets

__all__ = ["TargetSettings", "open_targets", "targets_of"]


RELEASED_LATENTS = {"bigg": "sd-latents"}
"""Encoder of the latents of released brain decoders, by that of their tokens."""


class TargetSettings(Settings):
    """Encoders whose outputs, stored in the prepared data set, are predicted."""

    tokens: str = "lite0"
    """Encoder of the image tokens. Released: bigg."""

    latents: str = "lowlevel"
    """Encoder of the low-level head's latents. Released: sd-latents."""

    maps: str = "convnext"
    """Encoder of the teacher's feature maps, for `losses.maps`."""

    maps_augmented: str = "convnext-augmented"
    """Encoder of the teacher's feature maps of augmented images, for `losses.maps`."""


def targets_of(start: LoadedRun) -> TargetSettings:
    """Return the encoders whose outputs a pretrained brain decoder predicts."""
    config = start.manifest["config"]
    recorded = config.get("targets") if isinstance(config, dict) else None
    if recorded is not None:
        return build_settings(TargetSettings, recorded)
    latents = RELEASED_LATENTS.get(start.encoder, "lowlevel")
    return TargetSettings(tokens=start.encoder, latents=latents)


def open_targets(
    settings: TargetSettings, *, prepared: Prepared, sizes: ModelSettings, losses: LossSettings
) -> TrainingTargets:
    """Open the targets that model and losses need.

    Raises ArtifactError if targets are missing, or have other shapes than the model's outputs.
    """
    wanted: dict[str, tuple[int, ...]] = {"tokens": (sizes.n_tokens, sizes.n_features)}
    # Without an upsampler the low-level head starts from a closed-form solution.
    if sizes.lowlevel is not None and (losses.lowlevel or not sizes.lowlevel.coarse_channels):
        wanted["latents"] = sizes.lowlevel.latent_shape
    if sizes.lowlevel is not None and losses.maps:
        if not sizes.lowlevel.n_maps:
            raise ArtifactError(
                f"losses.maps={losses.maps} needs feature maps, but the model predicts none. Set "
                "model.lowlevel.n_maps (and coarse_channels), or losses.maps=0."
            )
        shape = (sizes.lowlevel.size**2, sizes.lowlevel.n_maps)
        wanted |= {"maps": shape, "maps_augmented": shape}
    prepared.require_targets([getattr(settings, name) for name in wanted])
    return TrainingTargets(
        **{
            name: _open(prepared, getattr(settings, name), name=name, expected=shape)
            for name, shape in wanted.items()
        }
    )


def _open(prepared: Prepared, encoder: str, *, name: str, expected: tuple[int, ...]) -> TargetBank:
    bank = load_targets(prepared, encoder)
    if len(bank) != prepared.n_images:
        raise ArtifactError(
            f"the targets {encoder!r} of {prepared.folder} are of {len(bank)} images, the data "
            f"set has {prepared.n_images}: they are of another data set, or damaged. Set "
            f"targets.{name} to another encoder, or remove the folder "
            f"{prepared.folder / 'targets' / encoder} and run: "
            f"{prepared.command_for_targets([encoder])}"
        )
    if bank.row_shape != expected:
        sizes = "model.n_tokens, model.n_features" if name == "tokens" else "model.lowlevel"
        raise ArtifactError(
            f"the model predicts {name} of shape {expected} ({sizes}), but the targets "
            f"{encoder!r} of {prepared.folder} have shape {bank.row_shape}. Set these sizes, or "
            f"targets.{name} to an encoder with that shape."
        )
    return bank
