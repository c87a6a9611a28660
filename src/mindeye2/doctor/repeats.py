"""Reliability of repeats: betas of one image must be more similar than those of two images."""

import numpy as np
from jaxtyping import Float32, Int64

from mindeye2.doctor.dataset_view import BetaStats, DatasetView
from mindeye2.doctor.finding import Finding, first_few

__all__ = ["check_repeats"]

CHECK = "repeats"

MIN_PAIRS = 30
"""Fewer pairs of presentations are too few to decide."""

SURE = 4.0
"""z above which repeats are reliable beyond doubt."""

MAX_PAIRS = 20_000
"""Pairs that are compared."""


def repeat_correlations(
    betas: Float32[np.ndarray, "trials voxels"],
    images: Int64[np.ndarray, " trials"],
) -> tuple[Float32[np.ndarray, " _"], Int64[np.ndarray, "_ 2"], Float32[np.ndarray, " _"]]:
    """Correlate the betas of consecutive presentations of each image.

    Returns the correlation of each pair, the pair's rows, and correlations of different images:
    the second trial of each pair is exchanged for that of another pair.
    """
    order = np.argsort(images, kind="stable")
    repeated = images[order[1:]] == images[order[:-1]]
    pairs = np.stack([order[:-1][repeated], order[1:][repeated]], axis=1)[:MAX_PAIRS]
    used, position = np.unique(pairs, return_inverse=True)
    unit = betas[used] - betas[used].mean(axis=1, keepdims=True)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    first, second = position.reshape(pairs.shape).T
    # Pairs are sorted by image, so a step of half the list ends at another image.
    other = np.roll(second, len(second) // 2)
    different = images[used[first]] != images[used[other]]
    same = np.einsum("ij,ij->i", unit[first], unit[second])
    crossed = np.einsum("ij,ij->i", unit[first[different]], unit[other[different]])
    return same, pairs.astype(np.int64), crossed


def check_repeats(view: DatasetView, stats: BetaStats) -> list[Finding]:
    """Check the reliability of one subject's betas over all sessions and in each session."""
    images = stats.trials["image"].to_numpy().astype(np.int64)
    usable = stats.usable
    n_pairs = len(images) - len(np.unique(images))
    if n_pairs < MIN_PAIRS or usable.shape[1] < 2:
        found = f"{n_pairs} repeated presentations: too few to decide"
        return [Finding("note", CHECK, where=stats.subject, found=found)]
    same, pairs, crossed = repeat_correlations(usable, images)
    chance, std = float(crossed.mean()), float(max(crossed.std(), 1e-12))
    z = (same.mean() - chance) / std * np.sqrt(len(same))
    numbers = f"mean correlation {same.mean():.3f}, {chance:.3f} between different images"
    session = stats.trials["session"].to_numpy()
    unreliable = []
    for number in stats.sessions.tolist():
        touched = (session[pairs] == number).any(axis=1)
        own, rest = same[touched], same[~touched]
        if min(len(own), len(rest)) < MIN_PAIRS:
            continue
        own_z, rest_z = ((x.mean() - chance) / std * np.sqrt(len(own)) for x in (own, rest))
        if rest_z > 2 * SURE and own_z < rest_z / 4:
            unreliable.append(f"{number} ({own.mean():.3f})")
    if z < SURE:
        found = f"betas of one image are not similar ({numbers}; {len(same)} pairs)"
    elif unreliable:
        found = f"session {first_few(unreliable)} has unreliable repeats; all sessions: {numbers}"
    else:
        found = f"{len(same)} pairs: {numbers} (z {z:.1f})"
        return [Finding("ok", CHECK, where=stats.subject, found=found)]
    fix = view.prepare_again(first="see 'trial order'; check motion and the fit of the betas")
    return [Finding("warning", CHECK, where=stats.subject, found=found, fix=fix)]
