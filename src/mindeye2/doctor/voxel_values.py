"""Voxels and trials without signal: NaN, infinite, zero or constant values."""

import numpy as np
from jaxtyping import Bool

from mindeye2.doctor.dataset_view import BetaStats, DatasetView
from mindeye2.doctor.finding import Finding, first_few

__all__ = ["check_voxels"]

CHECK = "voxels"

EXTREME = 30.0
"""In standard deviations. One outlier among 750 trials cannot reach 28; more is no z-score."""


def check_voxels(view: DatasetView, stats: BetaStats) -> list[Finding]:
    """Check one subject's betas for values that are not finite, constant or extreme."""
    masked = _zeroed_by_settings(view, stats)
    findings = [
        Finding(
            "error", CHECK, where=stats.subject, found=found, fix=view.prepare_again(first=fix)
        )
        for found, fix in (*_not_finite(stats), *_constant(stats, masked), *_zero_trials(stats))
    ]
    largest = float(max(-stats.low.min(), stats.high.max()))
    if largest > EXTREME:
        found = f"the largest value is {largest:.0f} standard deviations from the mean"
        fix = "check motion, a failed fit, or betas that were not z-scored"
        findings.append(Finding("warning", CHECK, where=stats.subject, found=found, fix=fix))
    if masked.any():
        found = (
            f"{int(masked.any(axis=0).sum())} voxels are 0 in sessions without variance, "
            "as the settings ask (constant_voxels=zero)"
        )
        findings.append(Finding("note", CHECK, where=stats.subject, found=found))
    if not findings:
        n_voxels, n_sessions = stats.low.shape[1], len(stats.sessions)
        found = f"{n_voxels} voxels are finite and vary in each of {n_sessions} sessions"
        findings.append(Finding("ok", CHECK, where=stats.subject, found=found))
    return findings


def _not_finite(stats: BetaStats) -> list[tuple[str, str]]:
    if not stats.n_bad.any():
        return []
    voxels = np.flatnonzero(stats.n_bad.any(axis=0))
    sessions = stats.sessions[stats.n_bad.any(axis=1)]
    found = (
        f"{int(stats.n_bad.sum())} values are NaN or infinite: {len(voxels)} voxels "
        f"(columns {first_few(voxels)}), sessions {first_few(sessions)}"
    )
    return [(found, "drop those voxels from the mask, or those trials")]


def _constant(
    stats: BetaStats, masked: Bool[np.ndarray, "sessions voxels"]
) -> list[tuple[str, str]]:
    # `_not_finite` has the voxels with values that are not finite.
    constant = (stats.low == stats.high) & (stats.n_bad == 0) & ~masked
    found = []
    for kind, chosen in (("zero", stats.low == 0), ("constant", stats.low != 0)):
        voxels = np.flatnonzero((constant & chosen).any(axis=0))
        sessions = stats.sessions[(constant & chosen).any(axis=1)]
        if len(voxels):
            found.append(
                f"{len(voxels)} voxels are {kind} in a whole session (columns "
                f"{first_few(voxels)}; sessions {first_few(sessions)})"
            )
    fix = "remove them from the mask: they were probably outside the field of view"
    return [(text, fix) for text in found]


def _zeroed_by_settings(
    view: DatasetView, stats: BetaStats
) -> Bool[np.ndarray, "sessions voxels"]:
    """Return where, by the scaler, a voxel did not vary and was set to 0."""
    scaler = view.scalers.get(stats.subject)
    if scaler is None or scaler.std.shape != stats.low.shape:
        return np.zeros(stats.low.shape, bool)
    masked: Bool[np.ndarray, "sessions voxels"]
    masked = (scaler.std == 0) & (stats.low == 0) & (stats.high == 0)
    return masked


def _zero_trials(stats: BetaStats) -> list[tuple[str, str]]:
    rows = stats.zero_trials
    if not len(rows):
        return []
    found = f"{len(rows)} trials are zero in every voxel (rows {first_few(rows)})"
    return [(found, "drop those trials: their betas were never filled in")]
