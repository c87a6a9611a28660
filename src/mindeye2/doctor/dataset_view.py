"""A prepared data set, opened as far as its damage allows, and statistics of its betas."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Float, Float16, Float32, Int64, UInt8

from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import progress
from mindeye2.data.prepared import Prepared
from mindeye2.data.prepared.consistency import COLUMNS
from mindeye2.data.prepared.zscore import Scaler
from mindeye2.doctor.finding import Finding, rerun_command, restore_command

__all__ = ["BetaStats", "DatasetView", "open_dataset", "scan_betas"]

N_SAMPLE = 2048
"""Voxels, evenly spaced, that represent all voxels where trials are compared with trials."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DatasetView:
    """The readable parts of a prepared data set; large arrays stay on disk."""

    prepared: Prepared
    """The data set; its own properties may raise."""

    images: UInt8[np.ndarray, "images height width rgb"] | None
    """Stimulus images; None where they are damaged, or the source had none."""

    trials: pd.DataFrame | None
    """Trials of all subjects."""

    betas: dict[str, Float16[np.ndarray, "trials voxels"]]
    """By subject, memory-mapped."""

    voxels: dict[str, pd.DataFrame]
    """Voxel tables by subject."""

    scalers: dict[str, Scaler]
    """Z-scoring by subject."""

    @property
    def folder(self) -> Path:
        """Return the folder of the data set."""
        return self.prepared.folder

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Return what the prepare stage recorded."""
        return self.prepared.manifest

    @property
    def n_images(self) -> int | None:
        """Return the number of stimulus images; None where they are damaged."""
        if self.images is not None:
            return len(self.images)
        return None if self.prepared.has_images else self.prepared.n_images

    @property
    def matched_subjects(self) -> list[str]:
        """Return the subjects with one row of betas per trial: only their betas are checked."""
        if self.trials is None:
            return []
        counts = self.trials["subject"].value_counts()
        return [s for s, b in self.betas.items() if counts.get(s, 0) == len(b) > 0]

    def trials_of(self, subject: str) -> pd.DataFrame:
        """Return the trials of one subject; the index is the row of its betas."""
        assert self.trials is not None
        return self.trials[self.trials["subject"] == subject].reset_index(drop=True)

    def prepare_again(self, *, first: str) -> str:
        """Return a fix: what to do `first`, then the command that prepares the data set."""
        return rerun_command(self.manifest, first=first)


@dataclass(frozen=True, kw_only=True)
class BetaStats:
    """Statistics of one subject's betas by session and voxel; values that are not finite are 0."""

    subject: str
    """Name of the subject."""

    trials: pd.DataFrame
    """Trials of the subject."""

    sessions: Int64[np.ndarray, " sessions"]
    """Session numbers, ascending."""

    n_bad: Int64[np.ndarray, "sessions voxels"]
    """Number of values that are NaN or infinite."""

    low: Float32[np.ndarray, "sessions voxels"]
    """Smallest value."""

    high: Float32[np.ndarray, "sessions voxels"]
    """Largest value."""

    mean: dict[str, Float32[np.ndarray, "sessions voxels"]]
    """Mean over ``"all"`` trials, and over those ``"outside test"``."""

    std: dict[str, Float32[np.ndarray, "sessions voxels"]]
    """Standard deviation (ddof 0) over the same trials."""

    zero_trials: Int64[np.ndarray, " _"]
    """Rows in which every value is 0 or not finite."""

    sample: Float16[np.ndarray, "trials voxels2"]
    """Betas of at most `N_SAMPLE` voxels, evenly spaced."""

    @property
    def usable(self) -> Float32[np.ndarray, "trials voxels"]:
        """Return the sampled voxels that are finite in every trial and vary."""
        values = self.sample.astype(np.float32)
        finite: Float32[np.ndarray, "trials voxels"] = values[:, np.isfinite(values).all(axis=0)]
        return finite[:, finite.min(axis=0) < finite.max(axis=0)]

    def rows(self, session: int) -> Int64[np.ndarray, " _"]:
        """Return the rows of one session's betas."""
        return np.flatnonzero(self.trials["session"].to_numpy() == session)


def open_dataset(folder: Path, manifest: dict[str, Any]) -> tuple[DatasetView, list[Finding]]:
    """Open the readable files of a data set; report an error for each of the others."""
    prepared = Prepared(folder=folder, manifest=manifest)
    findings: list[Finding] = []

    def attempt(name: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except (ArtifactError, OSError, ValueError, KeyError, EOFError) as error:
            if (folder / name).exists():  # `check_files` reports missing files
                found = f"cannot be read: {' '.join(str(error).split())[:200]}"
                fix = restore_command(manifest, folder, name)
                findings.append(Finding("error", "files", where=name, found=found, fix=fix))
            return None

    def by_subject(pattern: str, read: Callable[[str], T]) -> dict[str, T]:
        values = {
            s: attempt(pattern.format(s), lambda s=s: read(s))  # type: ignore[misc]
            for s in prepared.subjects
        }
        return {s: value for s, value in values.items() if value is not None}

    view = DatasetView(
        prepared=prepared,
        images=attempt("images.npy", lambda: prepared.images),
        trials=attempt("trials.parquet", lambda: _trial_table(prepared)),
        betas=by_subject("betas/{}.npy", prepared.betas),
        voxels=by_subject("voxels/{}.parquet", prepared.voxels),
        scalers=by_subject("scaler/{}.npz", lambda s: _scaler(folder / "scaler" / f"{s}.npz")),
    )
    return view, findings


def _trial_table(prepared: Prepared) -> pd.DataFrame | None:
    """Read the trial table; None for a data set of images without subjects."""
    table = prepared.trials
    missing = [c for c in COLUMNS if c not in table]
    if missing and prepared.subjects:
        raise ArtifactError(f"it has no column {missing}, only {list(table.columns)}")
    return None if missing else table


def _scaler(path: Path) -> Scaler:
    with np.load(path, allow_pickle=False) as stored:
        return Scaler(**{k: stored[k] for k in ("sessions", "mean", "std", "fitted_on")})


def scan_betas(view: DatasetView, subject: str) -> BetaStats:
    """Compute the statistics of one subject's betas in one pass, a session at a time."""
    betas, trials = view.betas[subject], view.trials_of(subject)
    step = -(-betas.shape[1] // N_SAMPLE)
    session_of = trials["session"].to_numpy()
    test = (trials["split"] == "test").to_numpy()
    sessions = np.unique(session_of).astype(np.int64)
    sample = np.empty((len(betas), len(range(0, betas.shape[1], step))), dtype=np.float16)
    by_session: dict[str, list[np.ndarray]] = {k: [] for k in ("n_bad", "low", "high")}
    moments: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"all": [], "outside test": []}
    zero_trials = []
    for session in progress(sessions, label=f"betas of {subject}"):
        rows = np.flatnonzero(session_of == session)
        stored = betas[_span(rows)]
        sample[rows] = stored[:, ::step]
        values = stored.astype(np.float32)
        bad = ~np.isfinite(values)
        values[bad] = 0
        zero_trials.append(rows[~values.any(axis=1)])
        by_session["n_bad"].append(bad.sum(axis=0))
        by_session["low"].append(values.min(axis=0))
        by_session["high"].append(values.max(axis=0))
        moments["all"].append(_moments(values))
        moments["outside test"].append(_moments(values[~test[rows]]))
    return BetaStats(
        subject=subject,
        trials=trials,
        sessions=sessions,
        **{k: np.stack(v) for k, v in by_session.items()},
        mean={k: np.stack([mean for mean, _ in m]) for k, m in moments.items()},
        std={k: np.stack([std for _, std in m]) for k, m in moments.items()},
        zero_trials=np.concatenate(zero_trials).astype(np.int64),
        sample=sample,
    )


def _span(rows: Int64[np.ndarray, " _"]) -> slice | Int64[np.ndarray, " _"]:
    """Return a slice if rows are consecutive: it is read from disk in one go."""
    consecutive = int(rows[-1]) - int(rows[0]) + 1 == len(rows)
    return slice(int(rows[0]), int(rows[-1]) + 1) if consecutive else rows


def _moments(
    values: Float[np.ndarray, "trials voxels"],
) -> tuple[Float32[np.ndarray, " voxels"], Float32[np.ndarray, " voxels"]]:
    """Return mean and standard deviation; NaN if there are no trials."""
    if not len(values):
        empty = np.full(values.shape[1], np.nan, np.float32)
        return empty, empty
    return values.mean(axis=0), values.std(axis=0)
