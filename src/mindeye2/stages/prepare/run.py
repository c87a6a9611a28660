"""Prepare a source: read it, z-score it, encode its pictures, seal the folder."""

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from mindeye2.core.artifacts import claim_folder, keep_settings, record_path
from mindeye2.core.errors import check_choice
from mindeye2.core.runtime import choose_device, progress
from mindeye2.core.settings import plain
from mindeye2.data.checks import check_parts
from mindeye2.data.prepared import seal_prepared
from mindeye2.data.source_dataset import SourceDataset
from mindeye2.data.streaming import Subject, stream_images, stream_subject
from mindeye2.stages.prepare.adapters import KINDS
from mindeye2.stages.prepare.preparation import PrepareSettings
from mindeye2.stages.prepare.targets import ENCODERS, fill_targets

__all__ = ["prepare"]


def prepare(
    settings: PrepareSettings,
    *,
    out: Path,
    source: Path | None = None,
    resume: bool = False,
    device: str = "auto",
) -> Path:
    """Fill a folder with a prepared data set.

    Parameters
    ----------
    settings
        What to prepare.
    out
        The folder.
    source
        Where the adapter reads, for those that read anything.
    resume
        Go on with a folder that was begun with the same settings.
    device
        Where pictures are encoded: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    ArtifactError
        If the folder is not empty, was begun with other settings, or the source is unfit.
    ValueError
        If there is no such encoder.
    """
    for name in settings.encoders:
        check_choice("encoders", name, ENCODERS)
    out = claim_folder(out, resume=resume)
    recorded = record_path(source, folder=out) if source else None
    config = {**plain(settings), "source": recorded}
    # These change no file and may change when a run goes on; targets record what encoded them.
    for name in ("processes", "encoder_weights"):
        del config[name]
    keep_settings(out, config)
    recording = KINDS[settings.kind](settings, source)
    for note in recording.notes:
        sys.stderr.write(f"{note}\n")
    shapes = {name: tuple(betas.shape) for name, betas in recording.betas.items()}
    check_parts(
        recording.trials,
        n_images=len(recording.images),
        shapes=shapes,
        voxels=recording.voxels,
        captions=recording.captions,
    )
    images = stream_images(out / "images.npy", recording.images, trials=recording.trials)
    _stream_subjects(out, _subjects(recording, settings), processes=settings.processes)
    fill_targets(
        out / "targets",
        images,
        encoders=settings.encoders,
        weights=settings.encoder_weights,
        device=choose_device(device),
    )
    notes = {"notes": list(recording.notes)} if recording.notes else {}
    return seal_prepared(
        out,
        trials=recording.trials,
        captions=recording.captions,
        categories=recording.categories,
        subjects={name: int(shape[1]) for name, shape in shapes.items()},
        config=config,
        label=recording.label,
        simulated=recording.simulated,
        **notes,
        **recording.facts,
    )


def _subjects(recording: SourceDataset, settings: PrepareSettings) -> list[Subject]:
    return [
        Subject(
            name=name,
            betas=betas,
            trials=recording.trials[recording.trials["subject"] == name],
            voxels=recording.voxels[name],
            scaling="none" if recording.zscored else settings.zscore,
            keep_constant=settings.constant_voxels == "zero",
        )
        for name, betas in recording.betas.items()
    ]


def _stream_subjects(out: Path, subjects: Sequence[Subject], *, processes: int) -> None:
    if processes == 1 or len(subjects) < 2:
        for subject in subjects:
            stream_subject(out, subject)
        return
    # Started afresh, not forked: what torch's threads hold when a process is copied stays locked.
    context = get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(subjects)), mp_context=context) as pool:
        try:
            waiting = [pool.submit(stream_subject, out, s, show=False) for s in subjects]
            for done in progress(as_completed(waiting), label="betas", total=len(waiting)):
                done.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
