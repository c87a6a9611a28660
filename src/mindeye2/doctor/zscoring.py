"""Z-scoring and masks that were fitted on test trials.

The scaler records what it was fitted on; the betas show whether that is true, because their mean
and standard deviation are exactly 0 and 1 only over the trials that were fitted.
"""

import numpy as np
from jaxtyping import Float32

from mindeye2.doctor.dataset_view import BetaStats, DatasetView
from mindeye2.doctor.finding import Finding, Level, first_few, rerun_command

__all__ = ["check_masks", "check_zscoring"]

CHECK = "fitted on"

CLOSE = 4e-3
"""Twice the rounding of float16 in a session's means and standard deviations."""

REFIT = "z-score without test trials: {} --set zscore=training"


def check_zscoring(view: DatasetView, stats: BetaStats) -> list[Finding]:
    """Check on which trials one subject's betas were z-scored, by record and by value."""
    if stats.subject not in view.scalers:
        return []
    level, found, fix = _zscoring(view, stats)
    return [Finding(level, CHECK, where=stats.subject, found=found, fix=fix)]


def _zscoring(view: DatasetView, stats: BetaStats) -> tuple[Level, str, str]:
    """Return level, finding and fix."""
    rerun = rerun_command(view.manifest)
    fitted = view.scalers[stats.subject].fitted_on
    test = (stats.trials["split"] == "test").to_numpy()
    if len(fitted) != len(test):
        return "error", f"the scaler has {len(fitted)} trials, the table has {len(test)}", rerun
    n_recorded = int((fitted & test).sum())
    off_all, off_rest = (_deviation(stats, over) for over in ("all", "outside test"))
    if n_recorded or off_all < CLOSE < off_rest:
        found = f"z-scored on {n_recorded} test trials, by the scaler's own record"
        if not n_recorded:
            record = "without test trials" if fitted.any() else "done by the source"
            found = (
                "z-scored on test trials too: mean and standard deviation are 0 and 1 over all "
                "trials of a session, not over those outside the test split (the record says: "
                f"{record})"
            )
        if _is_released(view):
            return "note", f"{found}; as the published files were made", ""
        return "error", found, REFIT.format(rerun)
    if not fitted.any():
        return "note", "scaled by the source: the trials that it was fitted on are unknown", ""
    if off_rest > CLOSE:
        found = (
            "the betas do not match their scaler: over the trials it was fitted on, means and "
            f"standard deviations differ from 0 and 1 by up to {off_rest:.2g}. They were changed "
            "afterwards"
        )
        return "error", found, rerun
    return "ok", f"z-scored on {int(fitted.sum())} trials, none of them test", ""


def _deviation(stats: BetaStats, over: str) -> float:
    """Return how far the means and standard deviations of sound voxels are from 0 and 1."""
    sound = (stats.low < stats.high) & (stats.n_bad == 0)
    deviation: Float32[np.ndarray, "sessions voxels"] = np.maximum(
        np.abs(stats.mean[over]), np.abs(stats.std[over] - 1)
    )
    chosen = deviation[sound & np.isfinite(deviation)]
    # The 99th percentile, because a few odd voxels do not show another fit.
    return float(np.percentile(chosen, 99)) if len(chosen) else 0.0


def _is_released(view: DatasetView) -> bool:
    """Return whether the settings ask for the z-scoring of MindEye2's published files."""
    config = view.manifest.get("config", {})
    return "released" in (config.get("zscore"), config.get("kind"))


def check_masks(view: DatasetView) -> list[Finding]:
    """Report entries of the manifest's ``fitted_on`` that name the test split."""
    recorded = dict(view.manifest.get("fitted_on", {}))
    leaks = [name for name, splits in recorded.items() if "test" in splits]
    if not leaks:
        return []
    found = f"fitted on the test split too, by the manifest's record: {first_few(leaks)}"
    fix = view.prepare_again(first="fit them on training trials")
    return [Finding("error", CHECK, where=view.folder.name, found=found, fix=fix)]
