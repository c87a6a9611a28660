"""Trial order of a simulated subject: a design like that of the Natural Scenes Dataset.

Each subject is shown a random sample of the training and validation images, each up to as many
times as `repeat_fractions` has entries, a later presentation often in the same session and else in
another one; and all test images, the same for all subjects, `test_repeats` times spread evenly
over the sessions. Every session has the same number of training and validation trials in random
order, divided into runs.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int64, Shaped

__all__ = ["sample_trials"]


def sample_trials(
    split: Shaped[np.ndarray, " images"],
    rng: np.random.Generator,
    *,
    sessions: int,
    trials_per_session: int,
    runs: int,
    repeat_fractions: Sequence[float],
    same_session: float,
    test_repeats: int,
) -> pd.DataFrame:
    """Sample the trials of one subject, in the order of presentation."""
    pool = rng.permutation(np.flatnonzero(split != "test"))
    counts = _presentations(
        rng, n_images=len(pool), n_trials=sessions * trials_per_session, fractions=repeat_fractions
    )
    shown = _spread(
        counts,
        rng,
        sessions=sessions,
        trials_per_session=trials_per_session,
        same_session=same_session,
    )
    for session, images in enumerate(
        _spread_test(np.flatnonzero(split == "test"), rng, sessions=sessions, repeats=test_repeats)
    ):
        shown[session] = np.concatenate([pool[shown[session]], images])
    tables = []
    for session, images in enumerate(shown, start=1):
        blocks = np.array_split(rng.permutation(images), runs)
        tables.append(
            pd.DataFrame(
                {
                    "session": session,
                    "run": np.repeat(np.arange(1, runs + 1), [len(block) for block in blocks]),
                    "trial": np.concatenate([np.arange(1, len(block) + 1) for block in blocks]),
                    "image": np.concatenate(blocks),
                }
            )
        )
    trials = pd.concat(tables, ignore_index=True)
    trials["repeat"] = trials.groupby("image").cumcount()
    trials["split"] = np.asarray(split)[trials["image"]]
    return trials


def _presentations(
    rng: np.random.Generator, *, n_images: int, n_trials: int, fractions: Sequence[float]
) -> Int64[np.ndarray, " images"]:
    """Sample the number of presentations of each image, `n_trials` in all."""
    most = len(fractions)
    if n_images * most < n_trials:
        raise ValueError(
            f"there are {n_images} training and validation images, too few for {n_trials} trials "
            f"with at most {most} presentations each. Give at least {-(-n_trials // most)} "
            "images, or lower sessions or trials_per_session."
        )
    counts = rng.choice(
        np.arange(1, most + 1), size=n_images, p=np.divide(fractions, sum(fractions))
    )
    missing = n_trials - int(counts.sum())
    if missing > 0:
        spare = rng.permutation(np.repeat(np.arange(n_images), most - counts))
        return counts + np.bincount(spare[:missing], minlength=n_images)
    before = np.cumsum(counts) - counts
    clipped: Int64[np.ndarray, " images"] = np.clip(n_trials - before, 0, counts)
    return clipped


def _spread(
    counts: Int64[np.ndarray, " images"],
    rng: np.random.Generator,
    *,
    sessions: int,
    trials_per_session: int,
    same_session: float,
) -> list[Int64[np.ndarray, " trials"]]:
    """Assign the presentations of each image to sessions of `trials_per_session` trials."""
    free = np.full(sessions, trials_per_session)
    shown: list[list[int]] = [[] for _ in range(sessions)]
    for image, count in enumerate(counts):
        session = -1
        for _ in range(count):
            if session < 0 or free[session] == 0 or rng.random() >= same_session:
                weights = free.astype(np.float64)
                if session >= 0 and free.sum() > free[session]:
                    weights[session] = 0  # another session, if one has free trials
                session = int(rng.choice(sessions, p=weights / weights.sum()))
            free[session] -= 1
            shown[session].append(image)
    return [np.array(images, dtype=np.int64) for images in shown]


def _spread_test(
    images: Int64[np.ndarray, " images"],
    rng: np.random.Generator,
    *,
    sessions: int,
    repeats: int,
) -> list[Int64[np.ndarray, " trials"]]:
    """Assign presentations of each test image to sessions, different ones where possible."""
    order = rng.permutation(images)
    slots = (np.arange(len(order))[:, None] * repeats + np.arange(repeats)) % sessions
    return [np.repeat(order, (slots == session).sum(axis=1)) for session in range(sessions)]
