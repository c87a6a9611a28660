"""From a source to the folder, session by session: what is in memory does not grow with the data.

Each session is read, z-scored and kept as a file of ``state/<subject>/``; when all are there they
are put together. A run that was stopped goes on with the first session that is missing. State is
not part of the result, and is gone when a subject is finished.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Int64
from numpy.typing import DTypeLike, NDArray

from mindeye2.core.artifacts import write_json
from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import progress
from mindeye2.data.betas import Scaler, check_betas, zscore_session
from mindeye2.data.prepared import write_subject
from mindeye2.data.reliability import ncsnr_by_columns, noise_ceiling
from mindeye2.data.source_dataset import Rows

__all__ = ["Scaling", "Subject", "fill_rows", "stream_images", "stream_subject"]

Scaling = Literal["training", "released", "none"]
"""What z-scoring is fitted on: each session's trials outside the test split; all of a session's
trials, as MindEye2's published files were made; or nothing, where betas are z-scored already."""

_IMAGES = 256
"""Pictures read at a time."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One subject's share of a source."""

    name: str
    """E.g. ``"subj01"``."""

    betas: Rows
    """One row per trial."""

    trials: pd.DataFrame
    """The subject's rows of the trial table."""

    voxels: pd.DataFrame
    """One row per voxel."""

    scaling: Scaling = "training"
    """How to z-score."""

    keep_constant: bool = False
    """See `mindeye2.data.betas.zscore_session`."""


def fill_rows(
    path: Path,
    blocks: Iterable[tuple[Sequence[int] | slice | NDArray[np.int64], NDArray[Any]]],
    *,
    shape: tuple[int, ...],
    dtype: DTypeLike,
) -> Path:
    """Write an array block by block through a memory map, beside its place until it is whole.

    Parameters
    ----------
    path
        The ``.npy`` file.
    blocks
        Row numbers and their values; all rows in the end.
    shape
        Of the whole.
    dtype
        Of the whole; values are cast to it.

    Returns
    -------
    Path
        `path`.
    """
    beside = path.with_name(f".{path.name}")
    np.lib.format.open_memmap(beside, mode="w+", dtype=dtype, shape=shape)
    for rows, values in blocks:
        # Opened for each block: pages written through one map would all count as this process's.
        array = np.lib.format.open_memmap(beside, mode="r+")
        array[rows] = values
        array.flush()
    return beside.replace(path)


def stream_images(path: Path, images: Rows, *, trials: pd.DataFrame) -> NDArray[np.uint8]:
    """Write a source's pictures, unless these very ones are there already.

    Parameters
    ----------
    path
        The file ``images.npy`` of the data set.
    images
        RGB, uint8.
    trials
        The trial table: which of the source's images are meant.

    Returns
    -------
    numpy.ndarray
        The pictures, memory-mapped.

    Raises
    ------
    ArtifactError
        If the images are of another kind.
    """
    shape, record = tuple(images.shape), path.parent / "state" / "images.json"
    first = images[0:1]
    if len(shape) != 4 or shape[3] != 3 or first.dtype != np.uint8:
        raise ArtifactError(
            f"the source gives images of shape {shape} and type {first.dtype}; they must be "
            "(images, height, width, 3) and uint8: RGB from 0 to 255."
        )
    named = trials.reindex(columns=["image", "source_image"]).drop_duplicates()
    facts = {"shape": list(shape), "images": _digest(named)}
    if not path.exists() or not record.exists() or json.loads(record.read_text()) != facts:
        starts = range(0, len(images), _IMAGES)
        blocks = (
            (slice(s, s + _IMAGES), images[s : s + _IMAGES])
            for s in progress(starts, label="images")
        )
        fill_rows(path, blocks, shape=shape, dtype=np.uint8)
        record.parent.mkdir(exist_ok=True)
        write_json(record, facts)
    written: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    return written


def stream_subject(folder: Path, subject: Subject, *, show: bool = True) -> str:
    """Z-score one subject session by session and write its files into a data set.

    Parameters
    ----------
    folder
        The data set: ``betas``, ``scaler`` and ``voxels`` of the subject are written there.
    subject
        What to write.
    show
        Show a bar with the time left.

    Returns
    -------
    str
        The subject's name.

    Raises
    ------
    ArtifactError
        If betas are not finite, do not vary, or do not fit the tables.
    """
    state = folder / "state" / subject.name
    record = state / "source.json"
    facts = _facts(subject)
    before = json.loads(record.read_text()) if record.exists() else {}
    kept = {k: before.get(k) for k in facts} == facts
    if kept and before.get("done"):
        if all((folder / made).exists() for made in _made(subject.name)):
            return subject.name
        kept = False  # somebody removed what was damaged, to have it made again
    if not kept:
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(parents=True)
        write_json(record, facts)
    numbers = subject.trials["session"].to_numpy()
    sessions = [int(s) for s in np.unique(numbers)]
    places = {s: np.flatnonzero(numbers == s) for s in sessions}
    todo = [s for s in sessions if not (state / f"{s}.npz").exists()]
    for session in progress(todo, label=f"betas of {subject.name}") if show else todo:
        _keep_session(state, subject, session=session, rows=places[session])
    _finish(folder, subject, places)
    write_json(record, {**facts, "done": True})
    for session in sessions:
        (state / f"{session}.npy").unlink(missing_ok=True)
        (state / f"{session}.npz").unlink(missing_ok=True)
    return subject.name


def _made(name: str) -> tuple[str, ...]:
    return (f"betas/{name}.npy", f"scaler/{name}.npz", f"voxels/{name}.parquet")


def _facts(subject: Subject) -> dict[str, Any]:
    """Say what the state belongs to: with other facts it is of no use."""
    known = ["session", "run", "trial", "image", "source_image", "split"]
    return {
        "shape": list(subject.betas.shape),
        "trials": _digest(subject.trials.reindex(columns=known)),
        "voxels": _digest(subject.voxels),
        "scaling": subject.scaling,
        "keep_constant": subject.keep_constant,
    }


def _digest(table: pd.DataFrame) -> str:
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()


def _fitted(subject: Subject) -> Bool[np.ndarray, " trials"]:
    if subject.scaling == "none":
        return np.zeros(len(subject.trials), bool)
    if subject.scaling == "released":
        return np.ones(len(subject.trials), bool)
    return np.asarray(subject.trials["split"] != "test")


def _keep_session(
    state: Path, subject: Subject, *, session: int, rows: Int64[np.ndarray, " trials"]
) -> None:
    # Slices where the session lies together: some sources read them many times faster.
    together = rows[-1] - rows[0] + 1 == len(rows)
    found = subject.betas[slice(int(rows[0]), int(rows[-1]) + 1) if together else rows]
    betas = np.ascontiguousarray(found, dtype=np.float32)
    check_betas(betas, subject=subject.name, rows=rows)
    if subject.scaling == "none":
        scaled, mean, std = betas, np.zeros(0, np.float32), np.zeros(0, np.float32)
    else:
        scaled, mean, std = zscore_session(
            betas,
            _fitted(subject)[rows],
            subject=subject.name,
            session=session,
            keep_constant=subject.keep_constant,
        )
    fill_rows(state / f"{session}.npy", [(slice(None), scaled)], shape=scaled.shape, dtype="f4")
    beside = state / f".{session}.npz"
    np.savez(beside, mean=mean, std=std)
    beside.replace(state / f"{session}.npz")


def _finish(
    folder: Path, subject: Subject, places: dict[int, Int64[np.ndarray, " trials"]]
) -> None:
    """Put the sessions together."""
    state = folder / "state" / subject.name

    def kept(session: int) -> Float32[np.ndarray, "trials voxels"]:
        array: Float32[np.ndarray, "trials voxels"] = np.load(
            state / f"{session}.npy", mmap_mode="r", allow_pickle=False
        )
        return array

    def read(columns: slice) -> Float32[np.ndarray, "trials voxels"]:
        block = np.empty((len(subject.trials), len(range(n_voxels)[columns])), np.float32)
        for session, rows in places.items():
            block[rows] = kept(session)[:, columns]
        return block[trained]

    n_voxels = int(subject.betas.shape[1])
    trained = (subject.trials["split"] == "train").to_numpy()
    images = subject.trials["image"].to_numpy()[trained]
    scaler, empty = _scaler(state, subject, sessions=list(places))
    voxels = subject.voxels
    if empty.any():
        voxels = voxels.assign(constant_sessions=empty)
    if len(np.unique(images)) < len(images):
        ratio = ncsnr_by_columns(read, images, n_voxels=n_voxels)
        ceilings = {f"noise_ceiling_{n}": noise_ceiling(ratio, n) for n in (1, 3)}
        voxels = voxels.assign(ncsnr_train=ratio, **ceilings)
    (folder / "betas").mkdir(exist_ok=True)
    fill_rows(
        folder / "betas" / f"{subject.name}.npy",
        ((rows, kept(session)) for session, rows in places.items()),
        shape=(len(subject.trials), n_voxels),
        dtype=np.float16,
    )
    write_subject(folder, subject.name, voxels=voxels, scaler=scaler)


def _scaler(
    state: Path, subject: Subject, *, sessions: list[int]
) -> tuple[Scaler, Int64[np.ndarray, " voxels"]]:
    """Return the scaler, and in how many sessions each voxel did not vary."""
    n_voxels = int(subject.betas.shape[1])
    mean, std = np.zeros((1, n_voxels), np.float32), np.ones((1, n_voxels), np.float32)
    if subject.scaling == "none":
        sessions = [0]
    else:
        found = [np.load(state / f"{s}.npz", allow_pickle=False) for s in sessions]
        mean, std = (np.stack([f[name] for f in found]) for name in ("mean", "std"))
        for file in found:
            file.close()
    scaler = Scaler(
        sessions=np.array(sessions, np.int64), mean=mean, std=std, fitted_on=_fitted(subject)
    )
    return scaler, (std == 0).sum(axis=0)
