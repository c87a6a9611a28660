"""Which image a simulated person sees when: a design like that of the Natural Scenes Dataset.

Each person sees an own draw of the training and validation images, each up to `repeats` times, a
later presentation often in the same session and else in another one; and all test images, the same
for everybody, `test_repeats` times spread evenly over the sessions. Every session has the same
number of training and validation trials; its order is random, and it is cut into runs.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int64, Shaped

__all__ = ["draw_trials"]


def draw_trials(
    split: Shaped[np.ndarray, " images"],
    rng: np.random.Generator,
    *,
    sessions: int,
    trials_per_session: int,
    runs: int,
    repeat_shares: Sequence[float],
    same_session: float,
    test_repeats: int,
) -> pd.DataFrame:
    """Draw the trials of one person."""
    pool = rng.permutation(np.flatnonzero(split != "test"))
    counts = _presentations(
        rng, n_images=len(pool), n_trials=sessions * trials_per_session, shares=repeat_shares
    )
    shown = _spread(counts, rng, sessions=sessions, room=trials_per_session, stay=same_session)
    for session, images in enumerate(
        _spread_test(np.flatnonzero(split == "test"), rng, sessions=sessions, repeats=test_repeats)
    ):
        shown[session] = np.concatenate([pool[shown[session]], images])
    parts = []
    for session, images in enumerate(shown, start=1):
        blocks = np.array_split(rng.permutation(images), runs)
        parts.append(
            pd.DataFrame(
                {
                    "session": session,
                    "run": np.repeat(np.arange(1, runs + 1), [len(block) for block in blocks]),
                    "trial": np.concatenate([np.arange(1, len(block) + 1) for block in blocks]),
                    "image": np.concatenate(blocks),
                }
            )
        )
    trials = pd.concat(parts, ignore_index=True)
    trials["repeat"] = trials.groupby("image").cumcount()
    trials["split"] = np.asarray(split)[trials["image"]]
    return trials


def _presentations(
    rng: np.random.Generator, *, n_images: int, n_trials: int, shares: Sequence[float]
) -> Int64[np.ndarray, " images"]:
    """Return how often each image is shown, `n_trials` in all."""
    most = len(shares)
    if n_images * most < n_trials:
        raise ValueError(
            f"there are {n_images} training and validation images, too few for {n_trials} trials "
            f"with at most {most} presentations each. Give at least {-(-n_trials // most)} "
            "images, or lower sessions or trials_per_session."
        )
    counts = rng.choice(np.arange(1, most + 1), size=n_images, p=np.divide(shares, sum(shares)))
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
    room: int,
    stay: float,
) -> list[Int64[np.ndarray, " trials"]]:
    """Place the presentations of each image; each session gets `room` of them."""
    free = np.full(sessions, room)
    placed: list[list[int]] = [[] for _ in range(sessions)]
    for image, count in enumerate(counts):
        session = -1
        for _ in range(count):
            if session < 0 or free[session] == 0 or rng.random() >= stay:
                weights = free.astype(np.float64)
                if session >= 0 and free.sum() > free[session]:
                    weights[session] = 0  # "another session" means another one
                session = int(rng.choice(sessions, p=weights / weights.sum()))
            free[session] -= 1
            placed[session].append(image)
    return [np.array(images, dtype=np.int64) for images in placed]


def _spread_test(
    images: Int64[np.ndarray, " images"],
    rng: np.random.Generator,
    *,
    sessions: int,
    repeats: int,
) -> list[Int64[np.ndarray, " trials"]]:
    """Place `repeats` presentations of every test image, in different sessions where they last."""
    order = rng.permutation(images)
    slots = (np.arange(len(order))[:, None] * repeats + np.arange(repeats)) % sessions
    return [np.repeat(order, (slots == session).sum(axis=1)) for session in range(sessions)]
