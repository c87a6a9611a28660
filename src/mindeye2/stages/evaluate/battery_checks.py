"""Checks of the battery that need no control: clusters, dimensions, order, copies."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.core.runtime import generator
from mindeye2.data.image_clusters import image_clusters
from mindeye2.data.image_copies import find_copies, shrink_images
from mindeye2.metrics import bootstrap_interval
from mindeye2.metrics.correlation import standardise_pair
from mindeye2.metrics.dimensionality import effective_rank, participation_ratio
from mindeye2.stages.evaluate.battery_controls import Control

__all__ = [
    "average_without",
    "compare_galleries",
    "count_dimensions",
    "list_copies",
    "score_clusters",
]


def count_dimensions(run: Control) -> dict[str, dict[str, float]]:
    """Count the dimensions of predicted and true tokens of the same images."""
    names = [n for n in ("true", "backbone", "prior") if n in run.token_names]
    counts: dict[str, dict[str, float]] = {}
    for name in names:
        rows = run.tokens(name)
        counts[name] = {
            "effective_rank": effective_rank(rows),
            "participation_ratio": participation_ratio(rows),
        }
    return counts


def score_clusters(run: Control) -> dict[str, Any] | None:
    """Identify images among those of their own cluster, and among those of the others."""
    encoder = run.manifest.get("encoder")
    if encoder is None or "backbone" not in run.token_names:
        return None
    of_image = image_clusters(run.prepared.targets(encoder))
    cluster = torch.from_numpy(of_image[run.images])
    preds = run.tokens("backbone") - run.tokens("training_backbone").mean(dim=0)
    true = run.tokens("true").flatten(1)
    within, across = _identify(preds.flatten(1), true, cluster)
    scored = within.isfinite()
    result: dict[str, Any] = {
        "within": float(within[scored].mean()) if scored.any() else None,
        "within_interval": None,
        "across": float(across[across.isfinite()].mean()) if across.isfinite().any() else None,
        "clusters": [
            {
                "test_images": int((cluster == k).sum()),
                "all_images": int((of_image == k).sum()),
                "within": float(within[scored & (cluster == k)].mean())
                if (scored & (cluster == k)).any()
                else None,
            }
            for k in range(int(of_image.max()) + 1)
        ],
    }
    if int(scored.sum()) > 1:
        interval = bootstrap_interval(within[scored], generator=generator(0, "battery clusters"))
        result["within_interval"] = [interval.low, interval.high]
    if "nearest_training_image" in run.items:
        nearest = of_image[run.items["nearest_training_image"].to_numpy()[: run.n_images]]
        training = of_image[np.asarray(run.manifest["training_images"])]
        frequency = np.bincount(training, minlength=int(of_image.max()) + 1) / len(training)
        result["same_cluster"] = float((nearest == cluster.numpy()).mean())
        result["same_cluster_chance"] = float(frequency[cluster.numpy()].mean())
    return result


def _identify(
    preds: Float[Tensor, "images features"],
    targets: Float[Tensor, "images features"],
    cluster: Int[Tensor, " images"],
) -> tuple[Float[Tensor, " images"], Float[Tensor, " images"]]:
    """Identify each image among those of its own cluster, and among the others; NaN if alone."""
    left, right = standardise_pair(preds, targets)
    near = left @ right.T
    true = near.diagonal()[:, None]
    wins = (near < true).float() + 0.5 * (near == true)
    same = cluster[:, None] == cluster[None, :]
    others = ~torch.eye(len(near), dtype=torch.bool)
    return tuple((wins * m).sum(dim=1) / m.sum(dim=1) for m in (same & others, ~same))  # type: ignore[return-value]


def compare_galleries(run: Control, *, seed: int) -> dict[str, float] | None:
    """Compare the best match of each prediction among test images and among training images."""
    if "training_expected" not in run.token_names:
        return None
    preds = run.tokens("backbone") - run.tokens("training_backbone").mean(dim=0)
    training = run.tokens("training_expected")
    mean = training.mean(dim=0)
    n = min(len(preds), len(training))
    stream = generator(seed, "battery", "order")
    galleries = [run.tokens("expected")[torch.randperm(len(preds), generator=stream)[:n]]]
    galleries.append(training[torch.randperm(len(training), generator=stream)[:n]])
    queries = F.normalize(preds.flatten(1), dim=1)
    best = [(queries @ F.normalize((g - mean).flatten(1), dim=1).T).amax(dim=1) for g in galleries]
    return {"test_first": float((best[0] > best[1]).float().mean()), "n": len(preds)}


def list_copies(run: Control) -> list[dict[str, Any]]:
    """Find copies of test images among the images that any subject saw in training."""
    prepared, images = run.prepared, run.images
    seen = np.union1d(prepared.images_of("train"), prepared.images_of("validation"))
    others = np.setdiff1d(seen, np.asarray(images)).astype(np.int64)
    test = np.unique(np.asarray(images, np.int64))
    pairs = find_copies(
        prepared.images, *(shrink_images(prepared.images, rows) for rows in (test, others))
    )
    return [{"test": a, "training": b, "how": how} for (a, b), how in sorted(pairs.items())]


def average_without(
    copies: Sequence[Mapping[str, Any]], scores: Mapping[str, Tensor], images: Sequence[int]
) -> dict[str, float]:
    """Average the run's scores over the images that have no copy."""
    copied = {pair["test"] for pair in copies}
    kept = torch.tensor([image not in copied for image in images])
    if not copied or not kept.any():
        return {}
    return {name: float(values[kept].mean()) for name, values in scores.items()}
