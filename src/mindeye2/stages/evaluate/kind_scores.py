"""Scores of what captions name, the kind of object for example, for data sets that know it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mindeye2.core.artifacts import write_json
from mindeye2.generation.reference_scenes import PARTS, SURE
from mindeye2.metrics import proportion_interval
from mindeye2.stages.evaluate.decoded import Decoded, Scores

__all__ = ["kind_scores", "write_named_kinds"]


def kind_scores(decoded: Decoded) -> Scores:
    """Score the most probable kinds, and of the nearest training image the category.

    Chance is the kind of a random training image.
    """
    scores = Scores()

    def score(name: str, preds: Sequence[str], targets: Sequence[str]) -> None:
        right = [p == targets[i] for p, i in zip(preds, decoded.images, strict=True)]
        scores.values[name] = torch.tensor(right).float()
        scores.chances[name] = float(_chances(decoded, targets).mean())

    categories = decoded.prepared.categories
    if categories is not None and "nearest_training_image" in decoded.items:
        score(
            "category",
            [categories[i] for i in decoded.items["nearest_training_image"]],
            categories,
        )
    for part, targets in _known_kinds(decoded).items():
        score(f"{part}_kind", decoded.items[part].tolist(), targets)
        scores.values[f"{part}_named"] = _named(decoded, part).float()
    return scores


def write_named_kinds(decoded: Decoded, scores: Scores, path: Path) -> None:
    """Write how often captions name a kind, and how often it is right where they do."""
    found = {}
    for part, targets in _known_kinds(decoded).items():
        named = _named(decoded, part)
        n, right = int(named.sum()), int(scores.values[f"{part}_kind"][named].sum())
        entry: dict[str, float | int] = {"n": len(named), "n_named": n, "n_right": right}
        if n:
            interval = proportion_interval(right / n, n=n)
            probability = decoded.items[f"{part}_probability"].to_numpy()
            entry |= {
                "right_where_named": right / n,
                "low": interval.low,
                "high": interval.high,
                "mean_probability": float(probability[named.numpy()].mean()),
                "chance": float(_chances(decoded, targets)[named.numpy()].mean()),
            }
        found[part] = entry
    if found:
        write_json(path, found)


def _known_kinds(decoded: Decoded) -> dict[str, Sequence[str]]:
    """Return each image's kind by what was decoded, where the data set knows it."""
    known = decoded.prepared.kinds
    return {part: kinds for part, kinds in known.items() if part in decoded.items}


def _named(decoded: Decoded, part: str) -> Tensor:
    sure = decoded.items[f"{part}_probability"].to_numpy() > SURE
    # Of one object, or of light that is neither dim nor bright, a caption says nothing.
    worded = [bool(PARTS[part][kind]) for kind in decoded.items[part]]
    return torch.from_numpy(sure & np.array(worded))


def _chances(decoded: Decoded, targets: Sequence[str]) -> np.ndarray:
    """Return each test image's fraction of training images of its kind."""
    training = [targets[i] for i in decoded.manifest["training_images"]]
    shares = {kind: training.count(kind) / len(training) for kind in set(targets)}
    return np.array([shares[targets[i]] for i in decoded.images])
