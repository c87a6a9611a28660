"""Sessions and subjects that are copies of each other, exactly or nearly.

A released data set of the field had one person's data under two names. Copies are looked for as
identical trials, as sessions whose voxels run in parallel, and, between subjects, as voxels that
run in parallel in any order, so that a copy with another mask or z-scoring is found too.
"""

import itertools

import numpy as np
from jaxtyping import Float32, Int64

from mindeye2.doctor.finding import Finding, first_few, remake
from mindeye2.doctor.study import Scan, Study

__all__ = ["check_duplicate_sessions", "check_duplicate_subjects", "parallel_share"]

CHECK = "duplicates"

NEARLY = 0.9
"""Correlation above which two sessions are one. Two scans of the same images stay far below."""

MIN_TRIALS = 20
"""With fewer trials the best of many voxels correlates by chance."""

N_VOXELS = 256
"""Voxels by which sessions are compared."""

N_PROBES = 64
"""Voxels of one subject that are looked for among all those of another."""


def check_duplicate_sessions(study: Study, scan: Scan) -> list[Finding]:
    """Look for trials and sessions of one subject that are there twice.

    Parameters
    ----------
    study
        The open data set.
    scan
        The subject's betas.

    Returns
    -------
    list of Finding
        What is there twice, or that nothing is.
    """
    findings = [
        _error(study, scan.subject, text) for text in (*_same_trials(scan), *_parallel(scan))
    ]
    if not findings:
        found = f"no trial and none of {len(scan.sessions)} sessions is there twice"
        return [Finding(level="ok", check=CHECK, where=scan.subject, found=found)]
    return findings


def _same_trials(scan: Scan) -> list[str]:
    """Tell trials with identical betas, session by session; dead ones are another finding."""
    living = np.setdiff1d(np.arange(len(scan.sample)), scan.dead_trials)
    stored = np.ascontiguousarray(scan.sample[living])
    keys = stored.view(np.dtype((np.void, stored.dtype.itemsize * stored.shape[1])))[:, 0]
    first: dict[bytes, int] = {}
    pairs: dict[tuple[int, int], list[int]] = {}
    session = scan.trials["session"].to_numpy()
    for row, key in zip(living.tolist(), keys, strict=True):
        earlier = first.setdefault(key.tobytes(), row)
        if earlier != row:
            pairs.setdefault((int(session[earlier]), int(session[row])), []).append(row)
    return [
        f"{len(rows)} trials of session {b} have the same betas as trials of session {a} "
        f"(rows {first_few(rows)})"
        for (a, b), rows in pairs.items()
    ]


def _parallel(scan: Scan) -> list[str]:
    """Tell pairs of equally long sessions that are nearly the same, trial by trial."""
    usable = scan.usable
    usable = usable[:, :: -(-max(usable.shape[1], 1) // N_VOXELS)]
    by_length: dict[int, list[int]] = {}
    for session in scan.sessions.tolist():
        by_length.setdefault(len(scan.rows(session)), []).append(session)
    texts = []
    for length, sessions in by_length.items():
        if length < MIN_TRIALS or len(sessions) < 2 or not usable.shape[1]:
            continue
        flat = np.stack([_standardised(usable[scan.rows(s)]).ravel() for s in sessions])
        alike = flat @ flat.T / flat.shape[1]
        for i, j in np.argwhere(np.triu(alike, 1) > NEARLY):
            if not _identical(scan, sessions[i], sessions[j]):
                texts.append(
                    f"session {sessions[j]} is nearly session {sessions[i]}: their betas "
                    f"correlate at {alike[i, j]:.3f}, trial by trial"
                )
    return texts


def _identical(scan: Scan, one: int, other: int) -> bool:
    """Return whether `_same_trials` has told this pair."""
    return np.array_equal(scan.sample[scan.rows(one)], scan.sample[scan.rows(other)])


def check_duplicate_subjects(
    study: Study, first_rows: dict[str, Int64[np.ndarray, " _"]]
) -> list[Finding]:
    """Look for subjects that are one person under two names.

    Parameters
    ----------
    study
        The open data set.
    first_rows
        By subject, the rows of its first session.

    Returns
    -------
    list of Finding
        Subjects that are there twice, or that none is.
    """
    names = list(first_rows)
    sessions = {s: _finite(study, s, first_rows[s]) for s in names}
    findings = []
    for one, other in itertools.combinations(names, 2):
        few, many = sorted((sessions[one], sessions[other]), key=lambda x: x.shape[1])
        n_trials = min(len(few), len(many))
        if n_trials < MIN_TRIALS or not few.shape[1]:
            continue
        alike = parallel_share(few[:n_trials], many[:n_trials])
        if alike > NEARLY:
            same = np.array_equal(study.betas[one][0], study.betas[other][0])
            how = "the same as" if same else "nearly"
            text = (
                f"{other} is {how} {one}: in their first {n_trials} trials each voxel has a twin "
                f"(median correlation {alike:.3f})"
            )
            findings.append(_error(study, other, text))
    if not findings and len(names) > 1:
        found = f"no two of {len(names)} subjects are the same person's data"
        where = f"{names[0]} to {names[-1]}"
        return [Finding(level="ok", check=CHECK, where=where, found=found)]
    return findings


def parallel_share(
    few: Float32[np.ndarray, "trials voxels"], many: Float32[np.ndarray, "trials voxels2"]
) -> float:
    """Return how well the voxels of one array are found again among those of another.

    Parameters
    ----------
    few
        Voxels to look for.
    many
        Voxels to look among, in any order.

    Returns
    -------
    float
        Median over voxels of the best absolute correlation.
    """
    probes = _standardised(few[:, :: -(-few.shape[1] // N_PROBES)])
    alike = probes.T @ _standardised(many) / len(many)
    return float(np.median(np.abs(alike).max(axis=1)))


def _finite(
    study: Study, subject: str, rows: Int64[np.ndarray, " _"]
) -> Float32[np.ndarray, "trials voxels"]:
    values = np.asarray(study.betas[subject][rows], np.float32)
    chosen: Float32[np.ndarray, "trials voxels"] = values[:, np.isfinite(values).all(axis=0)]
    return chosen


def _standardised(
    values: Float32[np.ndarray, "trials voxels"],
) -> Float32[np.ndarray, "trials voxels"]:
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    scaled: Float32[np.ndarray, "trials voxels"] = centred / np.where(spread > 0, spread, 1)
    return scaled


def _error(study: Study, where: str, found: str) -> Finding:
    mend = f"find out which of the two is true, drop the copy, then: {remake(study.manifest)}"
    return Finding(level="error", check=CHECK, where=where, found=found, mend=mend)
