"""Sessions and subjects that are copies of each other, exactly or nearly.

A released data set of the field had one participant's data under two names. The checks find
identical trials, sessions whose betas correlate trial by trial, and, between subjects, voxels
that correlate in any order: a copy with another mask or z-scoring is found too.
"""

import itertools

import numpy as np
from jaxtyping import Float32, Int64

from mindeye2.doctor.dataset_view import BetaStats, DatasetView
from mindeye2.doctor.finding import Finding, first_few

__all__ = ["check_duplicate_sessions", "check_duplicate_subjects"]

CHECK = "duplicates"

NEARLY = 0.9
"""Correlation above which two sessions are copies. Two scans of the same images stay far below."""

MIN_TRIALS = 20
"""With fewer trials the best of many voxels correlates by chance."""

N_VOXELS = 256
"""Voxels by which sessions are compared."""

N_PROBES = 64
"""Voxels of one subject that are searched for among all voxels of another."""

FIX = "find out which of the two is correct, drop the copy"


def check_duplicate_sessions(view: DatasetView, stats: BetaStats) -> list[Finding]:
    """Search one subject for copied trials and sessions."""
    copies = [*_identical_trials(stats), *_similar_sessions(stats)]
    if not copies:
        found = f"no copies among the trials of {len(stats.sessions)} sessions"
        return [Finding("ok", CHECK, where=stats.subject, found=found)]
    fix = view.prepare_again(first=FIX)
    return [Finding("error", CHECK, where=stats.subject, found=text, fix=fix) for text in copies]


def _identical_trials(stats: BetaStats) -> list[str]:
    """Describe trials with identical betas, by pair of sessions; zero trials are left out."""
    rows = np.setdiff1d(np.arange(len(stats.sample)), stats.zero_trials)
    stored = np.ascontiguousarray(stats.sample[rows])
    keys = stored.view(np.dtype((np.void, stored.dtype.itemsize * stored.shape[1])))[:, 0]
    first: dict[bytes, int] = {}
    pairs: dict[tuple[int, int], list[int]] = {}
    session = stats.trials["session"].to_numpy()
    for row, key in zip(rows.tolist(), keys, strict=True):
        earlier = first.setdefault(key.tobytes(), row)
        if earlier != row:
            pairs.setdefault((int(session[earlier]), int(session[row])), []).append(row)
    return [
        f"{len(copied)} trials of session {b} have the same betas as trials of session {a} "
        f"(rows {first_few(copied)})"
        for (a, b), copied in pairs.items()
    ]


def _similar_sessions(stats: BetaStats) -> list[str]:
    """Describe pairs of equally long sessions that are nearly identical, trial by trial."""
    usable = stats.usable
    usable = usable[:, :: -(-max(usable.shape[1], 1) // N_VOXELS)]
    by_length: dict[int, list[int]] = {}
    for session in stats.sessions.tolist():
        by_length.setdefault(len(stats.rows(session)), []).append(session)
    texts = []
    for length, sessions in by_length.items():
        if length < MIN_TRIALS or len(sessions) < 2 or not usable.shape[1]:
            continue
        flat = np.stack([_standardised(usable[stats.rows(s)]).ravel() for s in sessions])
        correlation = flat @ flat.T / flat.shape[1]
        for i, j in np.argwhere(np.triu(correlation, 1) > NEARLY):
            one, other = (stats.sample[stats.rows(sessions[k])] for k in (i, j))
            if not np.array_equal(one, other):  # `_identical_trials` has these
                texts.append(
                    f"session {sessions[j]} is nearly session {sessions[i]}: their betas "
                    f"correlate at {correlation[i, j]:.3f}, trial by trial"
                )
    return texts


def check_duplicate_subjects(
    view: DatasetView, first_sessions: dict[str, Int64[np.ndarray, " _"]]
) -> list[Finding]:
    """Search for subjects whose first sessions, given by rows, are the same scan."""
    names = list(first_sessions)
    sessions = {s: _finite_betas(view, s, first_sessions[s]) for s in names}
    findings = []
    for one, other in itertools.combinations(names, 2):
        few, many = sorted((sessions[one], sessions[other]), key=lambda x: x.shape[1])
        n_trials = min(len(few), len(many))
        if n_trials < MIN_TRIALS or not few.shape[1]:
            continue
        correlation = best_match_correlation(few[:n_trials], many[:n_trials])
        if correlation > NEARLY:
            same = np.array_equal(view.betas[one][0], view.betas[other][0])
            text = (
                f"{other} is {'the same as' if same else 'nearly'} {one}: in their first "
                f"{n_trials} trials the best match of each voxel correlates at {correlation:.3f} "
                "(median)"
            )
            fix = view.prepare_again(first=FIX)
            findings.append(Finding("error", CHECK, where=other, found=text, fix=fix))
    if not findings and len(names) > 1:
        found = f"no copies among {len(names)} subjects"
        return [Finding("ok", CHECK, where=f"{names[0]} to {names[-1]}", found=found)]
    return findings


def best_match_correlation(
    few: Float32[np.ndarray, "trials voxels"], many: Float32[np.ndarray, "trials voxels2"]
) -> float:
    """Return the median over voxels in `few` of the best absolute correlation with `many`."""
    probes = _standardised(few[:, :: -(-few.shape[1] // N_PROBES)])
    correlation = probes.T @ _standardised(many) / len(many)
    return float(np.median(np.abs(correlation).max(axis=1)))


def _finite_betas(
    view: DatasetView, subject: str, rows: Int64[np.ndarray, " _"]
) -> Float32[np.ndarray, "trials voxels"]:
    values = np.asarray(view.betas[subject][rows], np.float32)
    finite: Float32[np.ndarray, "trials voxels"] = values[:, np.isfinite(values).all(axis=0)]
    return finite


def _standardised(
    values: Float32[np.ndarray, "trials voxels"],
) -> Float32[np.ndarray, "trials voxels"]:
    centred = values - values.mean(axis=0)
    std = centred.std(axis=0)
    scaled: Float32[np.ndarray, "trials voxels"] = centred / np.where(std > 0, std, 1)
    return scaled
