"""Trained MindEye2 models on disk: weights as safetensors, settings as YAML."""

from dataclasses import dataclass
from pathlib import Path

import yaml
from safetensors.torch import load_file

from mindeye2.core.artifacts import read_manifest, write_text
from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import build_settings, plain
from mindeye2.core.tensors import save_tensors, without_values
from mindeye2.models.decoder import MindEye, build_mindeye
from mindeye2.models.model_settings import ModelSettings

__all__ = ["LoadedRun", "load_run", "save_run"]


@dataclass(frozen=True)
class LoadedRun:
    """A trained model with its settings and the manifest of its run."""

    model: MindEye
    """In eval mode, float32."""

    settings: ModelSettings
    """Sizes of the model."""

    encoder: str
    """Name of the encoder whose tokens the model predicts."""

    manifest: dict[str, object]
    """Manifest of the train stage."""


def save_run(folder: Path, *, model: MindEye, settings: ModelSettings, encoder: str) -> None:
    """Write ``model.safetensors`` and ``model.yaml`` into a run folder."""
    save_tensors(
        {name: value.cpu() for name, value in model.state_dict().items()},
        folder / "model.safetensors",
    )
    description = {
        "encoder": encoder,
        "n_voxels": dict(model.ridge.n_voxels),
        "model": plain(settings),
    }
    write_text(folder / "model.yaml", yaml.safe_dump(description, sort_keys=False))


def load_run(folder: Path) -> LoadedRun:
    """Load the model of a finished run, or raise ArtifactError if it trained no brain model."""
    manifest = read_manifest(folder, stage="train")
    path = folder / "model.yaml"
    if not path.exists():
        task = manifest["config"].get("task")
        raise ArtifactError(
            f"{folder} is a run of the task {task!r}, which trains no brain model. "
            "Give a run of 'shared' or 'adapt'."
        )
    description = yaml.safe_load(path.read_text())
    settings = build_settings(ModelSettings, description["model"])
    with without_values():
        model = build_mindeye(settings, description["n_voxels"])
    try:
        weights = load_file(folder / "model.safetensors")
    except Exception as error:  # safetensors raises its own type, which is no OSError
        raise ArtifactError(
            f"{folder / 'model.safetensors'} cannot be read ({error}). Train again."
        ) from error
    differing = sorted(set(model.state_dict()) ^ set(weights))
    if differing:
        raise ArtifactError(
            f"{folder / 'model.safetensors'} does not fit model.yaml: {differing[:5]} differ. "
            "The files are of different runs; train again."
        )
    model.load_state_dict(weights, assign=True)
    return LoadedRun(
        model=model.eval(),
        settings=settings,
        encoder=description["encoder"],
        manifest=manifest,
    )
