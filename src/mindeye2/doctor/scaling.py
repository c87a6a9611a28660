"""Z-scoring and masks that were fitted on test trials.

The scaler's record says what it was fitted on; the betas themselves say whether that is true,
since a mean of exactly 0 and a spread of exactly 1 are only found over the trials fitted.
"""

import numpy as np
from jaxtyping import Float32

from mindeye2.doctor.finding import Finding, first_few, remake
from mindeye2.doctor.study import Scan, Study

__all__ = ["check_masks", "check_scaling"]

CHECK = "fitted on"

CLOSE = 4e-3
"""How far float16 moves means and standard deviations of a session, and twice that."""


def check_scaling(study: Study, scan: Scan) -> list[Finding]:
    """Ask of one subject's betas what they were z-scored on.

    Parameters
    ----------
    study
        The open data set.
    scan
        The subject's betas.

    Returns
    -------
    list of Finding
        One finding.
    """
    if scan.subject not in study.scalers:
        return []
    fitted = study.scalers[scan.subject].fitted_on
    test = (scan.trials["split"] == "test").to_numpy()
    if len(fitted) != len(test):
        found = f"the scaler knows {len(fitted)} trials, the table has {len(test)}"
        return [_finding(study, scan, found, refit=False)]
    by_record = int((fitted & test).sum())
    off_all, off_rest = (_distance(scan, over) for over in ("all", "outside test"))
    if by_record or off_all < CLOSE < off_rest:
        how = f"{by_record} test trials, by the scaler's own record"
        if not by_record:
            record = "without test trials" if fitted.any() else "done by the source"
            how = (
                "test trials too: mean and spread are 0 and 1 over all trials of a session, not "
                f"over those outside the test split (the record says: {record})"
            )
        if _is_released(study):
            found = f"z-scored on {how}; as the published files were made"
            return [Finding(level="note", check=CHECK, where=scan.subject, found=found)]
        return [_finding(study, scan, f"z-scored on {how}")]
    if not fitted.any():
        found = "scaled by the source: what it was fitted on cannot be told from here"
        return [Finding(level="note", check=CHECK, where=scan.subject, found=found)]
    if off_rest > CLOSE:
        found = (
            "the betas are not what the scaler says: over the trials it was fitted on, means and "
            f"spreads differ from 0 and 1 by up to {off_rest:.2g}. Something was changed after"
        )
        return [_finding(study, scan, found, refit=False)]
    found = f"z-scored on {int(fitted.sum())} trials, none of them test"
    return [Finding(level="ok", check=CHECK, where=scan.subject, found=found)]


def _distance(scan: Scan, over: str) -> float:
    """Return how far voxels are from mean 0 and spread 1, by the voxels that are sound."""
    sound = (scan.low < scan.high) & (scan.n_bad == 0)
    distances: Float32[np.ndarray, "sessions voxels"] = np.maximum(
        np.abs(scan.centre[over]), np.abs(scan.spread[over] - 1)
    )
    chosen = distances[sound & np.isfinite(distances)]
    # A handful of odd voxels is no other fit: the 99th percentile is what all of them do.
    return float(np.percentile(chosen, 99)) if len(chosen) else 0.0


def _is_released(study: Study) -> bool:
    """Whether the settings ask for z-scoring as MindEye2's published files have it."""
    config = study.manifest.get("config", {})
    return "released" in (config.get("zscore"), config.get("kind"))


def check_masks(study: Study) -> list[Finding]:
    """Look for other things that were fitted on test trials, by the manifest's record.

    Parameters
    ----------
    study
        The open data set.

    Returns
    -------
    list of Finding
        An error for each entry of the manifest's ``fitted_on`` that names the test split.
    """
    recorded = study.manifest.get("fitted_on", {})
    leaks = [name for name, splits in dict(recorded).items() if "test" in splits]
    if not leaks:
        return []
    found = f"fitted on the test split too, by the manifest's record: {first_few(leaks)}"
    mend = f"fit them on training trials, then: {remake(study.manifest)}"
    where = study.folder.name
    return [Finding(level="error", check=CHECK, where=where, found=found, mend=mend)]


def _finding(study: Study, scan: Scan, found: str, *, refit: bool = True) -> Finding:
    mend = remake(study.manifest)
    if refit:
        mend = f"z-score without test trials: {mend} --set zscore=training"
    return Finding(level="error", check=CHECK, where=scan.subject, found=found, mend=mend)
