"""Z-scoring and writing of one subject, session by session: memory does not grow with the data.

Each session is read, z-scored and kept in ``state/<subject>/``; complete sessions are
assembled at the end. An interrupted preparation continues with the first missing session. The
state is not part of the result and is removed when a subject is finished.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Int64

from mindeye2.core.artifacts import write_json
from mindeye2.core.runtime import progress
from mindeye2.data.prepared.writer import digest_table, write_rows, write_subject_tables
from mindeye2.data.prepared.zscore import Scaler, refuse_nonfinite, zscore_session
from mindeye2.data.reliability import ncsnr_by_columns, noise_ceiling
from mindeye2.data.source_dataset import SCALING, Rows

__all__ = ["Scaling", "SubjectSource", "write_subject"]

Scaling = Literal["training", "released", "none"]
"""The trials that z-scoring is fitted on: each session's trials outside the test split; all of a
session's trials, as in MindEye2's published files; or none, where betas are z-scored already."""


@dataclass(frozen=True, kw_only=True)
class SubjectSource:
    """Betas and tables of one subject, as the source gives them."""

    name: str
    """E.g. ``"subj01"``."""

    betas: Rows
    """One row per trial."""

    trials: pd.DataFrame
    """The subject's rows of the trial table, those of the split `SCALING` included."""

    voxels: pd.DataFrame
    """One row per voxel."""

    scaling: Scaling = "training"
    """The trials that z-scoring is fitted on."""

    keep_constant: bool = False
    """See `mindeye2.data.prepared.zscore.zscore_session`."""


def write_subject(folder: Path, subject: SubjectSource, *, show: bool = True) -> str:
    """Z-score one subject session by session and write its betas, scaler and voxel table.

    Returns the subject's name; `show` shows a progress bar. Raises ``ArtifactError`` if betas are
    not finite or constant.
    """
    state = folder / "state" / subject.name
    record = state / "source.json"
    key = _state_key(subject)
    before = json.loads(record.read_text()) if record.exists() else {}
    valid = {k: before.get(k) for k in key} == key
    if valid and before.get("done"):
        if all((folder / name).exists() for name in _result_files(subject.name)):
            return subject.name
        valid = False  # a damaged file was removed, to have the subject written again
    if not valid:
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(parents=True)
        write_json(record, key)
    numbers = subject.trials["session"].to_numpy()
    rows_of = {int(s): np.flatnonzero(numbers == s) for s in np.unique(numbers)}
    todo = [s for s in rows_of if not (state / f"{s}.npz").exists()]
    for session in progress(todo, label=f"betas of {subject.name}") if show else todo:
        _write_session(state, subject, session=session, rows=rows_of[session])
    _assemble(folder, subject, rows_of)
    write_json(record, {**key, "done": True})
    for session in rows_of:
        (state / f"{session}.npy").unlink(missing_ok=True)
        (state / f"{session}.npz").unlink(missing_ok=True)
    return subject.name


def _result_files(name: str) -> tuple[str, ...]:
    return (f"betas/{name}.npy", f"scaler/{name}.npz", f"voxels/{name}.parquet")


def _state_key(subject: SubjectSource) -> dict[str, Any]:
    """Return what a subject's state depends on: with another key it is invalid."""
    known = ["session", "run", "trial", "image", "source_image", "split"]
    return {
        "shape": list(subject.betas.shape),
        "trials": digest_table(subject.trials.reindex(columns=known)),
        "voxels": digest_table(subject.voxels),
        "scaling": subject.scaling,
        "keep_constant": subject.keep_constant,
    }


def _fitted_on(subject: SubjectSource) -> Bool[np.ndarray, " trials"]:
    if subject.scaling == "none":
        return np.zeros(len(subject.trials), bool)
    if subject.scaling == "released":
        return np.ones(len(subject.trials), bool)
    return np.asarray(subject.trials["split"] != "test")


def _kept(subject: SubjectSource) -> Bool[np.ndarray, " trials"]:
    return np.asarray(subject.trials["split"] != SCALING)


def _write_session(
    state: Path, subject: SubjectSource, *, session: int, rows: Int64[np.ndarray, " trials"]
) -> None:
    # A slice where the session is contiguous: some sources read slices many times faster.
    contiguous = rows[-1] - rows[0] + 1 == len(rows)
    found = subject.betas[slice(int(rows[0]), int(rows[-1]) + 1) if contiguous else rows]
    betas = np.ascontiguousarray(found, dtype=np.float32)
    refuse_nonfinite(betas, subject=subject.name, rows=rows)
    if subject.scaling == "none":
        scaled, mean, std = betas, np.zeros(0, np.float32), np.zeros(0, np.float32)
    else:
        scaled, mean, std = zscore_session(
            betas,
            _fitted_on(subject)[rows],
            subject=subject.name,
            session=session,
            keep_constant=subject.keep_constant,
        )
    write_rows(state / f"{session}.npy", [(slice(None), scaled)], shape=scaled.shape, dtype="f4")
    partial = state / f".{session}.npz"
    np.savez(partial, mean=mean, std=std)
    partial.replace(state / f"{session}.npz")


def _assemble(
    folder: Path, subject: SubjectSource, rows_of: dict[int, Int64[np.ndarray, " trials"]]
) -> None:
    """Assemble a subject's files from its z-scored sessions, and estimate reliability."""
    state = folder / "state" / subject.name

    def stored(session: int) -> Float32[np.ndarray, "trials voxels"]:
        array: Float32[np.ndarray, "trials voxels"] = np.load(
            state / f"{session}.npy", mmap_mode="r", allow_pickle=False
        )
        return array

    def read(columns: slice) -> Float32[np.ndarray, "trials voxels"]:
        block = np.empty((len(subject.trials), len(range(n_voxels)[columns])), np.float32)
        for session, rows in rows_of.items():
            block[rows] = stored(session)[:, columns]
        return block[train]

    n_voxels = int(subject.betas.shape[1])
    train = (subject.trials["split"] == "train").to_numpy()
    images = subject.trials["image"].to_numpy()[train]
    scaler, n_constant = _read_scaler(state, subject, sessions=list(rows_of))
    voxels = subject.voxels
    if n_constant.any():
        voxels = voxels.assign(constant_sessions=n_constant)
    if len(np.unique(images)) < len(images):
        ratio = ncsnr_by_columns(read, images, n_voxels=n_voxels)
        ceilings = {f"noise_ceiling_{n}": noise_ceiling(ratio, n) for n in (1, 3)}
        voxels = voxels.assign(ncsnr_train=ratio, **ceilings)
    (folder / "betas").mkdir(exist_ok=True)
    kept = _kept(subject)
    row_of = np.cumsum(kept) - 1
    write_rows(
        folder / "betas" / f"{subject.name}.npy",
        ((row_of[rows[kept[rows]]], stored(s)[kept[rows]]) for s, rows in rows_of.items()),
        shape=(int(kept.sum()), n_voxels),
        dtype=np.float16,
    )
    write_subject_tables(folder, subject.name, voxels=voxels, scaler=scaler)


def _read_scaler(
    state: Path, subject: SubjectSource, *, sessions: list[int]
) -> tuple[Scaler, Int64[np.ndarray, " voxels"]]:
    """Return the scaler, and the number of sessions in which each voxel is constant."""
    n_voxels = int(subject.betas.shape[1])
    mean, std = np.zeros((1, n_voxels), np.float32), np.ones((1, n_voxels), np.float32)
    if subject.scaling == "none":
        sessions = [0]
    else:
        found = [np.load(state / f"{s}.npz", allow_pickle=False) for s in sessions]
        mean, std = (np.stack([f[name] for f in found]) for name in ("mean", "std"))
        for file in found:
            file.close()
    fitted = _fitted_on(subject)[_kept(subject)]
    scaler = Scaler(sessions=np.array(sessions, np.int64), mean=mean, std=std, fitted_on=fitted)
    return scaler, (std == 0).sum(axis=0)
