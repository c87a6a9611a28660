"""Repeats: two presentations of one image must give betas that are more alike than two images'."""

import numpy as np
from jaxtyping import Float32, Int64

from mindeye2.doctor.finding import Finding, first_few, remake
from mindeye2.doctor.study import Scan, Study

__all__ = ["check_repeats", "repeat_scores"]

CHECK = "repeats"

MIN_PAIRS = 30
"""Fewer pairs of presentations are too few to tell."""

SURE = 4.0
"""z above which repeats are reliable beyond doubt."""

MAX_PAIRS = 20_000
"""Pairs that are compared; the first presentations of each image come first."""


def repeat_scores(
    betas: Float32[np.ndarray, "trials voxels"],
    images: Int64[np.ndarray, " trials"],
) -> tuple[Float32[np.ndarray, " _"], Int64[np.ndarray, "_ 2"], Float32[np.ndarray, " _"]]:
    """Correlate the patterns of following presentations of the same image.

    Parameters
    ----------
    betas
        One row per trial.
    images
        The image of each trial.

    Returns
    -------
    tuple
        Correlation of each pair, the pair's rows, and the same for pairs of different images
        (the second trial of each pair exchanged for that of another pair).
    """
    order = np.argsort(images, kind="stable")
    follows = images[order[1:]] == images[order[:-1]]
    pairs = np.stack([order[:-1][follows], order[1:][follows]], axis=1)[:MAX_PAIRS]
    used, place = np.unique(pairs, return_inverse=True)
    unit = betas[used] - betas[used].mean(axis=1, keepdims=True)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    first, second = place.reshape(pairs.shape).T
    # Pairs are sorted by image, so a step of half the list ends at another image.
    other = np.roll(second, len(second) // 2)
    differ = images[used[first]] != images[used[other]]
    same = np.einsum("ij,ij->i", unit[first], unit[second])
    crossed = np.einsum("ij,ij->i", unit[first[differ]], unit[other[differ]])
    return same, pairs.astype(np.int64), crossed


def check_repeats(study: Study, scan: Scan) -> list[Finding]:
    """Compare repeated presentations, over all and session by session.

    Parameters
    ----------
    study
        The open data set.
    scan
        One subject's betas.

    Returns
    -------
    list of Finding
        What does not repeat, or how well it does.
    """
    images = scan.trials["image"].to_numpy().astype(np.int64)
    usable = scan.usable
    n_pairs = len(images) - len(np.unique(images))
    if n_pairs < MIN_PAIRS or usable.shape[1] < 2:
        found = f"{n_pairs} repeated presentations: too few to tell"
        return [Finding(level="note", check=CHECK, where=scan.subject, found=found)]
    same, pairs, crossed = repeat_scores(usable, images)
    chance, spread = float(crossed.mean()), float(max(crossed.std(), 1e-12))
    z = (same.mean() - chance) / spread * np.sqrt(len(same))
    numbers = f"mean correlation {same.mean():.3f}, {chance:.3f} between different images"
    if z < SURE:
        found = f"presentations of one image are not alike ({numbers}; {len(same)} pairs)"
        return [_warning(study, scan, found)]
    session = scan.trials["session"].to_numpy()
    mute = []
    for number in scan.sessions.tolist():
        touched = (session[pairs] == number).any(axis=1)
        here, rest = same[touched], same[~touched]
        if min(len(here), len(rest)) < MIN_PAIRS:
            continue
        expected = (rest.mean() - chance) / spread * np.sqrt(len(here))
        own = (here.mean() - chance) / spread * np.sqrt(len(here))
        if expected > 2 * SURE and own < expected / 4:
            mute.append(f"{number} ({here.mean():.3f})")
    if mute:
        found = f"in session {first_few(mute)} images do not repeat; in all: {numbers}"
        return [_warning(study, scan, found)]
    found = f"{len(same)} pairs: {numbers} (z {z:.1f})"
    return [Finding(level="ok", check=CHECK, where=scan.subject, found=found)]


def _warning(study: Study, scan: Scan, found: str) -> Finding:
    mend = f"see 'trial order'; look at motion and the betas' fit, then: {remake(study.manifest)}"
    return Finding(level="warning", check=CHECK, where=scan.subject, found=found, mend=mend)
