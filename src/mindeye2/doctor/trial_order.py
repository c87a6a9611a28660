"""Check of the trial order: tables that are shifted by some trials, swapped or shuffled."""

import numpy as np
from jaxtyping import Float32

from mindeye2.doctor.dataset_view import BetaStats, DatasetView
from mindeye2.doctor.finding import Finding, first_few
from mindeye2.doctor.shifts import MAX_SLIP, SessionFit, fit_session, gram_matrix, shift_curve

__all__ = ["check_trial_order"]

CHECK = "trial order"

MIN_TRIALS = 24
"""Fewer trials give too few shifts to estimate chance from."""

SURE = 4.0
"""z of a peak at a shift of 0 that confirms the table."""

ELSEWHERE = 6.0
"""z that a peak at another shift needs, because it is the best of many shifts and sessions."""

MARGIN = 4.0
"""Difference in z that a peak at another shift needs to a shift of 0."""

SLIP = 5.0
"""z that a slip in mid-session needs."""

FEW = 200
"""With fewer trials in all, a missing peak is no evidence."""


def check_trial_order(
    view: DatasetView,
    stats: BetaStats,
    features: Float32[np.ndarray, "images features"],
    *,
    source: str,
) -> list[Finding]:
    """Compare one subject's betas with the image features (from `source`) of the trial table."""
    usable, images = stats.usable, stats.trials["image"].to_numpy()
    shown = {
        s: features[images[rows]]
        for s in stats.sessions.tolist()
        if len(rows := stats.rows(s)) >= MIN_TRIALS
    }
    if not shown or not usable.shape[1]:
        found = f"no session has {MIN_TRIALS} trials: too few to decide"
        return [Finding("note", CHECK, where=stats.subject, found=found)]
    fits = [fit_session(usable[stats.rows(s)], shown[s], session=s) for s in shown]
    errors, unclear = [], []
    for fit in fits:
        text = _shifted(fit, stats) or (fit.z < SURE and _swapped(fit, shown))
        if text:
            errors.append(f"session {fit.session}: {text}")
        elif fit.z < SURE:
            unclear.append(fit)
    errors = errors or _shifted_in_all(fits) or _shuffled_sessions(fits, unclear)
    pooled = sum(f.z for f in fits) / np.sqrt(len(fits))
    n_trials = sum(len(f.hat) for f in fits)
    if not errors and pooled < SURE:
        if n_trials < FEW:
            found = f"{n_trials} trials are too few to decide (z {pooled:.1f}, {SURE:.0f} is sure)"
            return [Finding("note", CHECK, where=stats.subject, found=found)]
        errors = [
            f"betas do not predict the images of the table (z {pooled:.1f} over {n_trials} "
            "trials): the table is shuffled, or the betas are noise"
        ]
    if errors:
        fix = view.prepare_again(first="put betas and table in one order in the source")
        return [Finding("error", CHECK, where=stats.subject, found=t, fix=fix) for t in errors]
    found = (
        f"trial i shows image i: fit to {source} z {pooled:.1f} over {len(fits)} sessions "
        f"(lowest {min(f.z for f in fits):.1f}), other shifts at most "
        f"{max(f.best_shift[0] for f in fits):.1f}"
    )
    return [Finding("ok", CHECK, where=stats.subject, found=found)]


def _shifted(fit: SessionFit, stats: BetaStats) -> str:
    """Describe a session whose table is shifted, as a whole or from some trial on."""
    z, shift = fit.best_shift
    if z > ELSEWHERE and z > fit.z + MARGIN:
        return (
            f"the table is off by {shift:+d}: betas of trial i fit the image of trial "
            f"i{shift:+d} (z {z:.1f}; as given {fit.z:.1f})"
        )
    z, shift, start = fit.slip
    # Where the given order does not fit, the predictions after a slip are noise too.
    if z > SLIP and fit.z > SURE:
        trial = stats.trials.iloc[stats.rows(fit.session)[start]]
        return (
            f"the table is off by {shift:+d} from about run {trial['run']}, trial "
            f"{trial['trial']} on (z {z:.1f}): a trial was dropped or added on one side only"
        )
    return ""


def _swapped(fit: SessionFit, shown: dict[int, Float32[np.ndarray, "trials features"]]) -> str:
    """Describe a session whose betas fit the table of another session."""
    others = {
        session: float(shift_curve(fit.hat, gram_matrix(features))[0])
        for session, features in shown.items()
        if session != fit.session and len(features) == len(fit.hat)
    }
    best = max(others, key=lambda s: others[s], default=None)
    if best is None or others[best] < max(ELSEWHERE, fit.z + MARGIN):
        return ""
    return (
        f"its betas fit the images of session {best} (z {others[best]:.1f}; as given {fit.z:.1f})"
    )


def _shifted_in_all(fits: list[SessionFit]) -> list[str]:
    """Describe a small shift that short sessions show only when pooled."""
    shifts = range(-MAX_SLIP, MAX_SLIP + 1)
    pooled = {k: sum(f.curve[k] for f in fits) / np.sqrt(len(fits)) for k in shifts}
    best = max(pooled, key=lambda k: pooled[k])
    if best == 0 or pooled[best] < max(ELSEWHERE, pooled[0] + MARGIN):
        return []
    return [
        f"the table is off by {best:+d} in all sessions together: betas of trial i fit the image "
        f"of trial i{best:+d} (z {pooled[best]:.1f}; as given {pooled[0]:.1f})"
    ]


def _shuffled_sessions(fits: list[SessionFit], unclear: list[SessionFit]) -> list[str]:
    """Describe sessions that fit no order, although the subject's other sessions fit well."""
    clear = [f.z for f in fits if f.z >= SURE]
    median = float(np.median(clear)) if len(clear) >= len(unclear) and clear else 0.0
    # Noise alone does not lower z to a quarter of the other sessions'.
    shuffled = [f for f in unclear if median > 2 * SURE and f.z < median / 4]
    if not shuffled:
        return []
    names = first_few(f"{f.session} (z {f.z:.1f})" for f in shuffled)
    return [
        f"the table of session {names} is shuffled, or its betas are not of this session: "
        f"other sessions have a median z of {median:.1f}"
    ]
