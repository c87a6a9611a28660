"""Brain models on disk: weights as safetensors, sizes as YAML; loaded whole or not at all."""

from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

from mindeye2.core.artifacts import read_manifest, write_text
from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import build_settings, plain
from mindeye2.core.tensors import save_tensors
from mindeye2.models.decoder import MindEye, build_mindeye
from mindeye2.models.settings import ModelSettings

__all__ = ["LoadedRun", "load_run", "save_run"]


@dataclass(frozen=True)
class LoadedRun:
    """A trained model and what it needs to be used."""

    model: MindEye
    """In eval mode, float32."""

    settings: ModelSettings
    """Its sizes."""

    encoder: str
    """The encoder whose tokens it predicts."""

    manifest: dict[str, object]
    """What the train stage recorded."""


def save_run(folder: Path, *, model: MindEye, settings: ModelSettings, encoder: str) -> None:
    """Write ``model.safetensors`` and ``model.yaml``.

    Parameters
    ----------
    folder
        Run folder.
    model
        The model.
    settings
        Its sizes.
    encoder
        The encoder whose tokens it predicts.
    """
    save_tensors(
        {name: value.cpu() for name, value in model.state_dict().items()},
        folder / "model.safetensors",
    )
    described = {
        "encoder": encoder,
        "n_voxels": dict(model.ridge.n_voxels),
        "model": plain(settings),
    }
    write_text(folder / "model.yaml", yaml.safe_dump(described, sort_keys=False))


def load_run(folder: Path) -> LoadedRun:
    """Load the model of a finished run.

    Parameters
    ----------
    folder
        Run folder.

    Returns
    -------
    LoadedRun
        The model and its settings.

    Raises
    ------
    ArtifactError
        If the run is unfinished, or trained something else than a brain model.
    """
    manifest = read_manifest(folder, stage="train")
    path = folder / "model.yaml"
    if not path.exists():
        task = manifest["config"].get("task")
        raise ArtifactError(
            f"{folder} is a run of the task {task!r}, which trains no brain model. "
            "Give a run of 'shared' or 'adapt'."
        )
    described = yaml.safe_load(path.read_text())
    settings = build_settings(ModelSettings, described["model"])
    with torch.device("meta"):
        model = build_mindeye(settings, described["n_voxels"])
    try:
        weights = load_file(folder / "model.safetensors")
    except Exception as error:  # safetensors raises its own type, which is no OSError
        raise ArtifactError(
            f"{folder / 'model.safetensors'} cannot be read ({error}). Train again."
        ) from error
    missing = sorted(set(model.state_dict()) ^ set(weights))
    if missing:
        raise ArtifactError(
            f"{folder / 'model.safetensors'} does not fit model.yaml: {missing[:5]} differ. "
            "The folder was mixed up; train again."
        )
    model.load_state_dict(weights, assign=True)
    return LoadedRun(
        model=model.eval(),
        settings=settings,
        encoder=described["encoder"],
        manifest=manifest,
    )
