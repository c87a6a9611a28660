"""A prepared data set, opened as far as its damage allows, and one pass over its betas."""

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
from mindeye2.doctor.finding import Finding, repair

__all__ = ["Scan", "Study", "open_study", "scan_subject"]

CHECK = "files"

N_SAMPLE = 2048
"""Voxels, evenly spread, that stand for all where trials are compared with trials."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Study:
    """What could be opened of a prepared data set; large arrays stay on disk."""

    prepared: Prepared
    """The data set; only what is below is known to be readable."""

    images: UInt8[np.ndarray, "images height width rgb"] | None
    """The stimuli."""

    trials: pd.DataFrame | None
    """Every trial of every subject."""

    betas: dict[str, Float16[np.ndarray, "trials voxels"]]
    """By subject, memory-mapped."""

    voxels: dict[str, pd.DataFrame]
    """By subject."""

    scalers: dict[str, Scaler]
    """By subject: what its betas were z-scored with."""

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.prepared.folder

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What the prepare stage recorded."""
        return self.prepared.manifest

    @property
    def paired(self) -> list[str]:
        """Subjects with one row of betas for each trial: only these can be looked at further."""
        if self.trials is None:
            return []
        counts = self.trials["subject"].value_counts()
        return [s for s, b in self.betas.items() if counts.get(s, 0) == len(b) > 0]

    def trials_of(self, subject: str) -> pd.DataFrame:
        """Return the trials of one subject; the index is the row of its betas.

        Parameters
        ----------
        subject
            One of `paired`.

        Returns
        -------
        pandas.DataFrame
            In the order of the betas' rows.
        """
        assert self.trials is not None
        return self.trials[self.trials["subject"] == subject].reset_index(drop=True)


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What one pass over a subject's betas gives; sums leave out what is not finite."""

    subject: str
    """Whose."""

    trials: pd.DataFrame
    """The subject's trials."""

    sessions: Int64[np.ndarray, " sessions"]
    """Session numbers, ascending."""

    n_bad: Int64[np.ndarray, "sessions voxels"]
    """Values that are NaN or infinite."""

    low: Float32[np.ndarray, "sessions voxels"]
    """Smallest value."""

    high: Float32[np.ndarray, "sessions voxels"]
    """Largest value."""

    centre: dict[str, Float32[np.ndarray, "sessions voxels"]]
    """Mean over ``"all"`` trials, and over those ``"outside test"``."""

    spread: dict[str, Float32[np.ndarray, "sessions voxels"]]
    """Standard deviation (ddof 0) over the same."""

    dead_trials: Int64[np.ndarray, " _"]
    """Rows whose every value is 0 or not finite."""

    sample: Float16[np.ndarray, "trials voxels2"]
    """At most `N_SAMPLE` voxels, evenly spread."""

    @property
    def usable(self) -> Float32[np.ndarray, "trials voxels"]:
        """The sampled voxels that are finite in every trial and vary."""
        values = self.sample.astype(np.float32)
        good = np.isfinite(values).all(axis=0)
        chosen: Float32[np.ndarray, "trials voxels"] = values[:, good]
        return chosen[:, chosen.min(axis=0) < chosen.max(axis=0)]

    def rows(self, session: int) -> Int64[np.ndarray, " _"]:
        """Return the rows of one session, in the table's order.

        Parameters
        ----------
        session
            One of `sessions`.

        Returns
        -------
        numpy.ndarray
            Rows of the subject's betas.
        """
        return np.flatnonzero(self.trials["session"].to_numpy() == session)


def open_study(folder: Path, manifest: dict[str, Any]) -> tuple[Study, list[Finding]]:
    """Open what can be opened.

    Parameters
    ----------
    folder
        A prepared data set, damaged or not.
    manifest
        Its manifest.

    Returns
    -------
    tuple
        The study, and an error for each file that cannot be read.
    """
    prepared = Prepared(folder=folder, manifest=manifest)
    findings: list[Finding] = []

    def attempt(name: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except (ArtifactError, OSError, ValueError, KeyError, EOFError) as error:
            if (folder / name).exists():  # what is missing was said when sizes were compared
                found = f"cannot be read: {' '.join(str(error).split())[:200]}"
                mend = repair(manifest, folder, name)
                findings.append(
                    Finding(level="error", check=CHECK, where=name, found=found, mend=mend)
                )
            return None

    def each(pattern: str, read: Callable[[str], T]) -> dict[str, T]:
        read_all = {
            s: attempt(pattern.format(s), lambda s=s: read(s))  # type: ignore[misc]
            for s in prepared.subjects
        }
        return {s: value for s, value in read_all.items() if value is not None}

    study = Study(
        prepared=prepared,
        images=attempt("images.npy", lambda: prepared.images),
        trials=attempt("trials.parquet", lambda: _table(prepared)),
        betas=each("betas/{}.npy", prepared.betas),
        voxels=each("voxels/{}.parquet", prepared.voxels),
        scalers=each("scaler/{}.npz", lambda s: _scaler(folder / "scaler" / f"{s}.npz")),
    )
    return study, findings


def _table(prepared: Prepared) -> pd.DataFrame | None:
    """Return the trial table, or None where there are no people (a set of pictures only)."""
    table = prepared.trials
    missing = [c for c in COLUMNS if c not in table]
    if missing and prepared.subjects:
        raise ArtifactError(f"it has no column {missing}, only {list(table.columns)}")
    return None if missing else table


def _scaler(path: Path) -> Scaler:
    with np.load(path, allow_pickle=False) as stored:
        return Scaler(
            sessions=stored["sessions"],
            mean=stored["mean"],
            std=stored["std"],
            fitted_on=stored["fitted_on"],
        )


def scan_subject(study: Study, subject: str) -> Scan:
    """Read one subject's betas once, a session at a time.

    Parameters
    ----------
    study
        The open data set.
    subject
        One of its paired subjects.

    Returns
    -------
    Scan
        Statistics by session and voxel, and a sample of the voxels.
    """
    betas, trials = study.betas[subject], study.trials_of(subject)
    step = -(-betas.shape[1] // N_SAMPLE)
    session_of = trials["session"].to_numpy()
    test = (trials["split"] == "test").to_numpy()
    sessions = np.unique(session_of).astype(np.int64)
    sample = np.empty((len(betas), len(range(0, betas.shape[1], step))), dtype=np.float16)
    parts: dict[str, list[np.ndarray]] = {k: [] for k in ("bad", "low", "high")}
    moments: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"all": [], "outside test": []}
    dead = []
    for session in progress(sessions, label=f"betas of {subject}"):
        rows = np.flatnonzero(session_of == session)
        stored = betas[_span(rows)]
        sample[rows] = stored[:, ::step]
        values = stored.astype(np.float32)
        bad = ~np.isfinite(values)
        values[bad] = 0  # neither moves a sum nor counts as signal; `n_bad` has them
        dead.append(rows[~values.any(axis=1)])
        parts["bad"].append(bad.sum(axis=0))
        parts["low"].append(values.min(axis=0))
        parts["high"].append(values.max(axis=0))
        moments["all"].append(_moments(values))
        moments["outside test"].append(_moments(values[~test[rows]]))
    return Scan(
        subject=subject,
        trials=trials,
        sessions=sessions,
        n_bad=np.stack(parts["bad"]).astype(np.int64),
        low=np.stack(parts["low"]),
        high=np.stack(parts["high"]),
        centre={k: np.stack([mean for mean, _ in m]) for k, m in moments.items()},
        spread={k: np.stack([sd for _, sd in m]) for k, m in moments.items()},
        dead_trials=np.concatenate(dead).astype(np.int64),
        sample=sample,
    )


def _span(rows: Int64[np.ndarray, " _"]) -> slice | Int64[np.ndarray, " _"]:
    """Return a slice where rows follow each other: it reads the disk in one go."""
    whole = int(rows[-1]) - int(rows[0]) + 1 == len(rows)
    return slice(int(rows[0]), int(rows[-1]) + 1) if whole else rows


def _moments(
    values: Float[np.ndarray, "trials voxels"],
) -> tuple[Float32[np.ndarray, " voxels"], Float32[np.ndarray, " voxels"]]:
    """Return mean and standard deviation; NaN where there are no trials."""
    if not len(values):
        empty = np.full(values.shape[1], np.nan, np.float32)
        return empty, empty
    return values.mean(axis=0), values.std(axis=0)
