"""Is image i really what trial i saw? The betas say so: off by one, swapped, shuffled tables."""

import numpy as np
from jaxtyping import Float32

from mindeye2.doctor.finding import Finding, first_few, remake
from mindeye2.doctor.shifts import MAX_SLIP, SessionFit, fit_session, gram_of, lag_curve
from mindeye2.doctor.study import Scan, Study

__all__ = ["check_order"]

CHECK = "trial order"

MIN_TRIALS = 24
"""Fewer trials give too few shifts to know chance by."""

SURE = 4.0
"""A peak of this z at a shift of 0 says that the table is right."""

ELSEWHERE = 6.0
"""z that a peak at another shift needs, being the best of many shifts and sessions."""

MARGIN = 4.0
"""By how much z must be higher there than at a shift of 0."""

SLIP = 5.0
"""z that a slip in mid-session needs."""

FEW = 200
"""With fewer trials in all, a missing peak says nothing."""


def check_order(
    study: Study, scan: Scan, features: Float32[np.ndarray, "images features"], *, source: str
) -> list[Finding]:
    """Compare one subject's betas with the images that the table says were seen.

    Parameters
    ----------
    study
        The open data set.
    scan
        The subject's betas.
    features
        From `image_features`, one row per image of the data set.
    source
        Where the features come from.

    Returns
    -------
    list of Finding
        What is off, or that image i is what trial i saw.
    """
    usable, images = scan.usable, scan.trials["image"].to_numpy()
    seen = {
        s: features[images[rows]]
        for s in scan.sessions.tolist()
        if len(rows := scan.rows(s)) >= MIN_TRIALS
    }
    if not seen or not usable.shape[1]:
        found = f"no session has {MIN_TRIALS} trials: too few to tell"
        return [Finding(level="note", check=CHECK, where=scan.subject, found=found)]
    fits = [fit_session(usable[scan.rows(s)], seen[s], session=s) for s in seen]
    pooled = sum(f.here for f in fits) / np.sqrt(len(fits))
    findings, unclear = [], []
    for fit in fits:
        text = _off(fit, scan) or (fit.here < SURE and _swapped(fit, seen))
        if text:
            findings.append(_error(study, scan, f"session {fit.session}: {text}"))
        elif fit.here < SURE:
            unclear.append(fit)
    if not findings:
        findings += _consistent_shift(study, scan, fits)
    if not findings:
        findings += _silent(study, scan, fits=fits, unclear=unclear)
    if not findings:
        weakest = min(f.here for f in fits)
        found = (
            f"image i is what trial i saw: fit to {source} z {pooled:.1f} over {len(fits)} "
            f"sessions (weakest {weakest:.1f}), other shifts at most "
            f"{max(f.elsewhere[0] for f in fits):.1f}"
        )
        findings = [Finding(level="ok", check=CHECK, where=scan.subject, found=found)]
    return findings


def _off(fit: SessionFit, scan: Scan) -> str:
    """Tell a session whose table is shifted, as a whole or from some trial on."""
    height, shift = fit.elsewhere
    if height > ELSEWHERE and height > fit.here + MARGIN:
        return (
            f"the table is off by {shift:+d}: betas of trial i fit the image of trial "
            f"i{shift:+d} (z {height:.1f}; as given {fit.here:.1f})"
        )
    z, by, start = fit.slip
    # Where nothing fits as given, what comes after a slip is noise too.
    if z > SLIP and fit.here > SURE:
        at = scan.trials.iloc[scan.rows(fit.session)[start]]
        return (
            f"the table is off by {by:+d} from about run {at['run']}, trial {at['trial']} on "
            f"(z {z:.1f}): a trial was dropped or added on one side only"
        )
    return ""


def _swapped(fit: SessionFit, seen: dict[int, Float32[np.ndarray, "trials features"]]) -> str:
    """Tell a session whose betas fit the table of another one."""
    others = {
        session: float(lag_curve(fit.hat, gram_of(features))[0])
        for session, features in seen.items()
        if session != fit.session and len(features) == len(fit.hat)
    }
    best = max(others, key=lambda s: others[s], default=None)
    if best is None or others[best] < max(ELSEWHERE, fit.here + MARGIN):
        return ""
    return (
        f"its betas fit the images of session {best} (z {others[best]:.1f}; "
        f"as given {fit.here:.1f})"
    )


def _consistent_shift(study: Study, scan: Scan, fits: list[SessionFit]) -> list[Finding]:
    """Pool short sessions: the same small shift in each of them."""
    shifts = range(-MAX_SLIP, MAX_SLIP + 1)
    heights = {k: sum(f.curve[k] for f in fits) / np.sqrt(len(fits)) for k in shifts}
    best = max(heights, key=lambda k: heights[k])
    if best == 0 or heights[best] < max(ELSEWHERE, heights[0] + MARGIN):
        return []
    found = (
        f"the table is off by {best:+d} in all sessions together: betas of trial i fit the image "
        f"of trial i{best:+d} (z {heights[best]:.1f}; as given {heights[0]:.1f})"
    )
    return [_error(study, scan, found)]


def _silent(
    study: Study, scan: Scan, *, fits: list[SessionFit], unclear: list[SessionFit]
) -> list[Finding]:
    """Tell sessions that fit no order, by how loud the subject's other sessions are."""
    n_trials = sum(len(f.hat) for f in fits)
    pooled = sum(f.here for f in fits) / np.sqrt(len(fits))
    loud = [f.here for f in fits if f.here >= SURE]
    usual = float(np.median(loud)) if len(loud) >= len(unclear) and loud else 0.0
    # Noise alone does not take three quarters of what the subject's other sessions have.
    mute = [f for f in unclear if usual > 2 * SURE and f.here < usual / 4]
    if mute:
        names = first_few(f"{f.session} (z {f.here:.1f})" for f in mute)
        found = (
            f"the table of session {names} is shuffled, or its betas are not of this session: "
            f"other sessions have a median z of {usual:.1f}"
        )
        return [_error(study, scan, found)]
    if pooled >= SURE:
        return []
    if n_trials < FEW:
        found = f"{n_trials} trials are too few to tell (z {pooled:.1f}, {SURE:.0f} is sure)"
        return [Finding(level="note", check=CHECK, where=scan.subject, found=found)]
    found = (
        f"betas say nothing about the images that the table gives (z {pooled:.1f} over {n_trials} "
        "trials): the table is shuffled, or the betas are noise"
    )
    return [_error(study, scan, found)]


def _error(study: Study, scan: Scan, found: str) -> Finding:
    mend = (
        f"put rows of betas and table in one order in the source, then: {remake(study.manifest)}"
    )
    return Finding(level="error", check=CHECK, where=scan.subject, found=found, mend=mend)
