"""Voxels and trials that hold nothing: NaN, infinite, zero or constant."""

import numpy as np
from jaxtyping import Bool

from mindeye2.doctor.finding import Finding, first_few, remake
from mindeye2.doctor.study import Scan, Study

__all__ = ["check_voxels"]

CHECK = "voxels"

EXTREME = 30.0
"""In standard deviations. One outlier among 750 trials cannot reach 28; more is no z-score."""


def check_voxels(study: Study, scan: Scan) -> list[Finding]:
    """Look for values that ruin a fit without a sign.

    Parameters
    ----------
    study
        The open data set.
    scan
        One subject's betas.

    Returns
    -------
    list of Finding
        What is wrong, or that every voxel varies in every session.
    """
    findings = [*_not_finite(study, scan), *_constant(study, scan), *_dead_trials(study, scan)]
    known = _known(study, scan)
    largest = float(max(-scan.low.min(), scan.high.max()))
    if largest > EXTREME:
        found = f"the largest value is {largest:.0f} standard deviations from the mean"
        mend = "look for motion, a failed fit, or betas that were not z-scored"
        findings.append(
            Finding(level="warning", check=CHECK, where=scan.subject, found=found, mend=mend)
        )
    if known.any():
        found = (
            f"{int(known.any(axis=0).sum())} voxels are 0 in sessions where they did not vary, as "
            "the settings ask (constant_voxels=zero)"
        )
        findings.append(Finding(level="note", check=CHECK, where=scan.subject, found=found))
    if not findings:
        n_voxels, n_sessions = scan.low.shape[1], len(scan.sessions)
        found = f"{n_voxels} voxels are finite and vary in each of {n_sessions} sessions"
        findings.append(Finding(level="ok", check=CHECK, where=scan.subject, found=found))
    return findings


def _not_finite(study: Study, scan: Scan) -> list[Finding]:
    if not scan.n_bad.any():
        return []
    voxels = np.flatnonzero(scan.n_bad.any(axis=0))
    sessions = scan.sessions[scan.n_bad.any(axis=1)]
    found = (
        f"{int(scan.n_bad.sum())} values are NaN or infinite: {len(voxels)} voxels "
        f"(columns {first_few(voxels)}), sessions {first_few(sessions)}"
    )
    return [_error(study, scan, found, what="drop those voxels from the mask, or those trials")]


def _constant(study: Study, scan: Scan) -> list[Finding]:
    # A voxel with values that are not finite was named already.
    still = (scan.low == scan.high) & (scan.n_bad == 0) & ~_known(study, scan)
    findings = []
    for kind, chosen in (
        ("zero", still & (scan.low == 0)),
        ("constant", still & (scan.low != 0)),
    ):
        if chosen.any():
            voxels = np.flatnonzero(chosen.any(axis=0))
            sessions = scan.sessions[chosen.any(axis=1)]
            found = (
                f"{len(voxels)} voxels are {kind} in a whole session (columns "
                f"{first_few(voxels)}; sessions {first_few(sessions)})"
            )
            what = "take them out of the mask: they were probably outside the field of view"
            findings.append(_error(study, scan, found, what=what))
    return findings


def _known(study: Study, scan: Scan) -> Bool[np.ndarray, "sessions voxels"]:
    """Return where the scaler says that a voxel did not vary and was set to 0."""
    scaler = study.scalers.get(scan.subject)
    if scaler is None or scaler.std.shape != scan.low.shape:
        return np.zeros(scan.low.shape, bool)
    known: Bool[np.ndarray, "sessions voxels"] = (
        (scaler.std == 0) & (scan.low == 0) & (scan.high == 0)
    )
    return known


def _dead_trials(study: Study, scan: Scan) -> list[Finding]:
    if not len(scan.dead_trials):
        return []
    rows = scan.dead_trials
    found = f"{len(rows)} trials are zero in every voxel (rows {first_few(rows)})"
    what = "drop those trials: their betas were never filled in"
    return [_error(study, scan, found, what=what)]


def _error(study: Study, scan: Scan, found: str, *, what: str) -> Finding:
    mend = f"{what}, then: {remake(study.manifest)}"
    return Finding(level="error", check=CHECK, where=scan.subject, found=found, mend=mend)
