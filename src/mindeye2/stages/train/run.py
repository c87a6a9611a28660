"""The train stage: one entry for every kind of training, chosen by the class of its settings."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import yaml

from mindeye2.core.artifacts import (
    MANIFEST,
    claim_folder,
    keep_settings,
    record_path,
    write_manifest,
)
from mindeye2.core.errors import ArtifactError
from mindeye2.core.failures import FAILURE, names_in
from mindeye2.core.runtime import peak_memory_gib
from mindeye2.core.settings import plain
from mindeye2.data.prepared import Prepared, open_prepared
from mindeye2.models.checkpoint import LoadedRun, load_run
from mindeye2.stages.train.adapt import AdaptTraining
from mindeye2.stages.train.brain import train_brain
from mindeye2.stages.train.decoder_tuning import DecoderTuning, tune_decoder
from mindeye2.stages.train.image_decoder import (
    AutoencoderTraining,
    UnclipTraining,
    train_autoencoder,
    train_unclip,
)
from mindeye2.stages.train.lora import require_peft
from mindeye2.stages.train.shared_subject import SharedTraining
from mindeye2.stages.train.unclip_sdxl import SdxlUnclipTraining, train_unclip_sdxl
from mindeye2.training.distributed import init_processes, run_on_rank0
from mindeye2.training.optimizer import MAY_CHANGE
from mindeye2.training.step_log import check_trackers

__all__ = ["TrainSettings", "train"]

TrainSettings = (
    SharedTraining
    | AdaptTraining
    | AutoencoderTraining
    | UnclipTraining
    | DecoderTuning
    | SdxlUnclipTraining
)
"""What can be trained; each has its own settings."""

TASKS: dict[str, type[TrainSettings]] = {
    "shared": SharedTraining,
    "adapt": AdaptTraining,
    "autoencoder": AutoencoderTraining,
    "unclip": UnclipTraining,
    "decoder_tuning": DecoderTuning,
    "unclip_sdxl": SdxlUnclipTraining,
}
"""Settings by the name that a run's ``config.yaml`` gives as its task."""

_DATA = "data_sha256"
"""Name of the data set's hash in ``config.yaml``."""

_STARTS_FROM = {
    "adapt": "the pretrained run",
    "unclip": "the autoencoder's run",
    "decoder_tuning": "the unCLIP's run",
}


def train(
    settings: TrainSettings,
    *,
    source: Path,
    out: Path,
    init: Path | None = None,
    recipe: str = "custom",
    resume: bool = False,
    device: str = "auto",
    load_init: Callable[[Path], LoadedRun] = load_run,
) -> Path:
    """Train what `settings` describe, in all processes that torchrun started.

    Parameters
    ----------
    settings
        One of the settings classes of `TASKS`.
    source
        Prepared data set; for ``unclip_sdxl`` also a folder of images, or tar shards.
    out
        Run folder to fill.
    init
        Run to start from: the pretrained model for ``adapt``, and for fine-tuning everything with
        ``shared``; the autoencoder for ``unclip``, the unCLIP for ``decoder_tuning``.
    recipe
        Name of the recipe that the settings came from, for the record.
    resume
        Go on with a run that was stopped; one that is finished stays as it is.
    device
        Where to train; of several GPUs each process takes its own.
    load_init
        Opens the pretrained model in `init`; by default a run of this package only.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    ArtifactError
        If the source is unfit or not the one that a run was begun with, the folder is not empty,
        or the run to start from is missing.
    MissingExtraError
        If a tracker or another library that the settings need is not installed.
    ValueError
        If the device is not there, or a batch cannot be divided among the processes.
    """
    check_trackers(settings)
    if isinstance(settings, AdaptTraining) and "lora" in settings.levels:
        require_peft()
    task = next(name for name, kind in TASKS.items() if type(settings) is kind)
    if init is None and task in _STARTS_FROM:
        raise ArtifactError(
            f"the task {task!r} starts from {_STARTS_FROM[task]}: give its folder with --init."
        )
    # Opened first, so that an unfit data set is refused before anything is written.
    prepared = None if isinstance(settings, SdxlUnclipTraining) else open_prepared(source)
    own_device, out = init_processes(device), Path(out)
    recorded = record_path(init, folder=out) if init else None
    origin = {"task": task, "recipe": recipe, "init": recorded}
    config: dict[str, object] = {**origin, **plain(settings)}
    if prepared is not None:
        config[_DATA] = _data_hash(prepared)

    def begin() -> None:
        claim_folder(out, resume=resume)
        if prepared is not None:
            _check_same_data(out, prepared)
        keep_settings(out, config, may_change=(*MAY_CHANGE, _DATA))

    run_on_rank0(begin)
    if (out / MANIFEST).exists():
        return out / MANIFEST  # finished already
    start = None
    if init is not None and isinstance(settings, SharedTraining | AdaptTraining):
        start = load_init(init)
    if prepared is None:
        assert isinstance(settings, SdxlUnclipTraining)
        facts = train_unclip_sdxl(settings, source=source, out=out, device=own_device)
    else:
        facts = _train(settings, prepared, init=init, start=start, out=out, device=own_device)
    facts["peak_memory_gib"] = round(peak_memory_gib(), 2)
    # Beside the settings: a run may be resumed with the data set at another place.
    facts["data"] = record_path(source, folder=out)
    run_on_rank0(lambda: _seal(out, config, facts))
    return out / MANIFEST


def _seal(out: Path, config: Mapping[str, object], facts: Mapping[str, object]) -> None:
    """Write the manifest, and remove the states: only an unfinished training needs them."""
    write_manifest(out, stage="train", config=config, **facts)
    for state in [path for path in out.rglob("state") if path.is_dir()]:
        shutil.rmtree(state)


def _data_hash(prepared: Prepared) -> str:
    """Return a hash of images, trials and betas; targets may be added to a data set later."""
    files = prepared.manifest["files"]
    parts = {n: f for n, f in files.items() if n.startswith(("images.", "trials.", "betas/"))}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _check_same_data(out: Path, prepared: Prepared) -> None:
    """Refuse to go on with another data set than the one that a run was begun with."""
    path = out / "config.yaml"
    if not path.exists() or names_in(out) <= {path.name, FAILURE}:
        return
    # Runs of earlier versions have no hash.
    begun_with = (yaml.safe_load(path.read_text()) or {}).get(_DATA)
    if begun_with not in {None, _data_hash(prepared)}:
        raise ArtifactError(
            f"{out} was begun with another data set than {prepared.folder}: images, trials or "
            "betas differ. Give the one that it was begun with as --source, or another --out."
        )


def _train(
    settings: TrainSettings,
    prepared: Prepared,
    *,
    init: Path | None,
    start: LoadedRun | None,
    out: Path,
    device: torch.device,
) -> dict[str, object]:
    match settings:
        case SharedTraining() | AdaptTraining():
            return train_brain(
                settings, prepared=prepared, start=start, init=init, out=out, device=device
            )
        case AutoencoderTraining():
            return train_autoencoder(settings, prepared=prepared, out=out, device=device)
    assert init is not None
    if isinstance(settings, UnclipTraining):
        return train_unclip(settings, prepared=prepared, out=out, init=init, device=device)
    assert isinstance(settings, DecoderTuning)
    return tune_decoder(settings, prepared=prepared, out=out, init=init, device=device)
