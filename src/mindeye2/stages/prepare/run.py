"""Preparation of a source: read, check, z-score, encode the images, seal the folder."""

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from mindeye2.core.artifacts import claim_folder, keep_settings, record_path
from mindeye2.core.errors import ArtifactError, check_choice
from mindeye2.core.runtime import progress
from mindeye2.core.settings import plain
from mindeye2.data.prepared.consistency import check_parts
from mindeye2.data.prepared.subject_writer import SubjectSource, write_subject
from mindeye2.data.prepared.writer import digest_images, seal_prepared, write_images
from mindeye2.data.source_dataset import SourceDataset, used_trials
from mindeye2.stages.prepare.adapters import KINDS
from mindeye2.stages.prepare.encode_targets import ENCODERS, fill_targets, write_embedding
from mindeye2.stages.prepare.preparation import PrepareSettings
from mindeye2.training.distributed import init_processes, run_on_rank0

__all__ = ["prepare"]

_OF_PUBLISHED_WEIGHTS = ("released", "nsd")
"""Kinds of source that published weights were trained on."""


def prepare(
    settings: PrepareSettings,
    *,
    out: Path,
    source: Path | None = None,
    resume: bool = False,
    device: str = "auto",
) -> Path:
    """Prepare a data set; the processes that torchrun started share the encoding of targets.

    Parameters
    ----------
    settings
        Adapter, its settings, and the encoders of the targets.
    out
        Folder to fill.
    source
        Folder or file that the adapter reads; None for adapters without a source.
    resume
        Continue a folder that was started with the same settings; other `encoders` add their
        targets to those that are there.
    device
        Device of the encoders: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; of several GPUs
        each process takes its own.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    ArtifactError
        If the folder is not empty, was started with other settings, or the source is invalid.
    ValueError
        If an encoder is unknown, or the device is not there.
    """
    for name in settings.encoders:
        check_choice("encoders", name, ENCODERS)
    unused = sorted(set(settings.encoder_weights) - set(settings.encoders))
    if unused:
        raise ValueError(
            f"encoder_weights has weights of {unused}, which are not among the encoders "
            f"{list(settings.encoders)}. Add them with --set encoders=[...], or leave them out."
        )
    out = Path(out)
    without_bigg = _without_bigg(settings, out)
    own_device = init_processes(device)

    def write_parts() -> SourceDataset:
        claim_folder(out, resume=resume)
        # Targets of more encoders may be added later.
        recorded = _recorded(settings, source, folder=out)
        keep_settings(out, recorded, may_change=("encoders", "embeddings"))
        dataset = KINDS[settings.kind](settings, source)
        for note in [*dataset.notes, *without_bigg]:
            sys.stderr.write(f"{note}\n")
        _write_parts(out, dataset, settings)
        return dataset

    dataset = run_on_rank0(write_parts)
    if settings.encoders:
        fill_targets(
            out / "targets",
            np.load(out / "images.npy", mmap_mode="r", allow_pickle=False),
            encoders=settings.encoders,
            weights=settings.encoder_weights,
            device=own_device,
        )

    def seal() -> None:
        assert dataset is not None
        for note in without_bigg:  # again: hours and many lines later
            sys.stderr.write(f"{note}\n")
        _seal(out, dataset, config=_recorded(settings, source, folder=out))

    run_on_rank0(seal)
    return out / "manifest.json"


def _recorded(settings: PrepareSettings, source: Path | None, *, folder: Path) -> dict[str, Any]:
    """Return the settings that decide what is in the folder."""
    config = {**plain(settings), "source": record_path(source, folder=folder) if source else None}
    # These change no file and may differ when a run is resumed; targets record their weights.
    for name in ("processes", "encoder_weights"):
        del config[name]
    return config


def _shapes(dataset: SourceDataset) -> dict[str, tuple[int, ...]]:
    return {name: tuple(betas.shape) for name, betas in dataset.betas.items()}


def _write_parts(out: Path, dataset: SourceDataset, settings: PrepareSettings) -> None:
    """Check a source data set; write its images, published embeddings and betas."""
    if dataset.images is None and settings.encoders:
        raise ArtifactError(
            f"encoders {list(settings.encoders)} encode images, and the source has none, only "
            f"published embeddings ({', '.join(dataset.embeddings)}). Leave encoders out."
        )
    check_parts(
        dataset.trials,
        n_images=dataset.n_images,
        shapes=_shapes(dataset),
        voxels=dataset.voxels,
        captions=dataset.captions,
        design=dataset.design,
    )
    if dataset.images is not None:
        write_images(out / "images.npy", dataset.images, trials=used_trials(dataset.trials))
    for name, embedding in dataset.embeddings.items():
        write_embedding(out / "targets", embedding, name=name)
    _write_subjects(out, _subjects(dataset, settings), processes=settings.processes)


def _seal(out: Path, dataset: SourceDataset, *, config: dict[str, Any]) -> None:
    facts: dict[str, Any] = {"notes": list(dataset.notes)} if dataset.notes else {}
    if dataset.images is None:
        digest = digest_images(used_trials(dataset.trials))
        facts |= {
            "has_images": False,
            "n_images": dataset.n_images,
            "images_sha256": digest,
        }
    seal_prepared(
        out,
        trials=used_trials(dataset.trials),
        captions=dataset.captions,
        categories=dataset.categories,
        kinds=dataset.kinds,
        subjects={name: int(shape[1]) for name, shape in _shapes(dataset).items()},
        config=config,
        label=dataset.label,
        simulated=dataset.simulated,
        design=dataset.design,
        **facts,
        **dataset.facts,
    )


def _without_bigg(settings: PrepareSettings, out: Path) -> list[str]:
    """Warn if published weights cannot decode the data set."""
    has_bigg = "bigg" in settings.encoders or (out / "targets" / "bigg").exists()
    if settings.kind not in _OF_PUBLISHED_WEIGHTS or has_bigg:
        return []
    added = ",".join((*settings.encoders, "bigg"))
    return [
        "Published weights and 'adapt --init' from them will not work on this data set: they need "
        f"targets of the encoder 'bigg', and it gets those of {list(settings.encoders)} only. For "
        f"them, prepare with --set 'encoders=[{added}]' --set encoder_weights.bigg=FOLDER, where "
        "FOLDER is the import of unclip6 or bigG."
    ]


def _subjects(dataset: SourceDataset, settings: PrepareSettings) -> list[SubjectSource]:
    return [
        SubjectSource(
            name=name,
            betas=betas,
            trials=dataset.trials[dataset.trials["subject"] == name],
            voxels=dataset.voxels[name],
            scaling="none" if dataset.zscored else settings.zscore,
            keep_constant=settings.constant_voxels == "zero",
        )
        for name, betas in dataset.betas.items()
    ]


def _write_subjects(out: Path, subjects: Sequence[SubjectSource], *, processes: int) -> None:
    if processes == 1 or len(subjects) < 2:
        for subject in subjects:
            write_subject(out, subject)
        return
    # Spawned, not forked: locks that torch's threads hold at a fork would never be released.
    context = get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(subjects)), mp_context=context) as pool:
        try:
            pending = [pool.submit(write_subject, out, s, show=False) for s in subjects]
            for done in progress(as_completed(pending), label="betas", total=len(pending)):
                done.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
