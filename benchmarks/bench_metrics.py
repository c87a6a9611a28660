"""Compare the time of the image metrics with that of the published notebook's loops.

Run: python benchmarks/bench_metrics.py [--images 100] [--threads 2] [--networks alexnet ...]
Four kinds of reconstructions of the same stimuli are scored, as `protocol=mindeye2-2024` does and
as the notebook does, which runs once for each kind. Networks have their published classes and
random weights: the cost is that of the published weights, the scores mean nothing, and both ways
must give the same ones. Retrieval has `--width` features a token row. The last line is JSON.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.spatial.distance import correlation
from torch import Tensor, nn
from torch.nn import functional as F

from mindeye2.core.errors import require
from mindeye2.core.runtime import generator, peak_memory_gib, process_rng
from mindeye2.encoders.feature_extractors import FEATURE_EXTRACTORS, layer_features
from mindeye2.metrics import (
    correlation_distance,
    pixcorr,
    ssim,
    top_k_hits,
    two_way_identification,
)
from mindeye2.metrics.retrieval import similarity

NETWORKS = {
    "alexnet": ("alexnet2", "alexnet5"),
    "inception_v3": ("inception",),
    "efficientnet_b1": ("effnet",),
    "resnet50": ("swav",),
}
POOL, SAMPLES = 300, 30


def resized(images: Tensor, size: int) -> Tensor:
    return F.interpolate(images, (size, size), mode="bilinear", antialias=False)


def notebook_pixcorr(preds: Tensor, targets: Tensor) -> float:
    left, right = (resized(x, 425).reshape(len(x), -1).numpy() for x in (targets, preds))
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(left, right, strict=True)]))


def notebook_ssim(preds: Tensor, targets: Tensor) -> float:
    metrics = require("skimage.metrics", extra="test", purpose="The published loop")
    color = require("skimage.color", extra="test", purpose="The published loop")
    left, right = (
        color.rgb2gray(resized(x, 425).permute(0, 2, 3, 1).numpy()) for x in (targets, preds)
    )
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(
        np.mean(
            [
                metrics.structural_similarity(b, a, data_range=1.0, **options)
                for a, b in zip(left, right, strict=True)
            ]
        )
    )


def notebook_network(name: str, network: nn.Module, *, preds: Tensor, targets: Tensor) -> float:
    """Score one layer: both sets of images pass for each layer and kind."""
    fake, real = (
        layer_features((name,), x, network=network)[name].numpy() for x in (preds, targets)
    )
    if FEATURE_EXTRACTORS[name].compared_by == "correlation_distance":
        return float(np.mean([correlation(a, b) for a, b in zip(real, fake, strict=True)]))
    r = np.corrcoef(real, fake)[: len(real), len(real) :]
    return float(np.mean((r < np.diag(r)).sum(axis=0)) / (len(real) - 1))


def our_network(
    names: Sequence[str], network: nn.Module, *, kinds: Sequence[Tensor], targets: Tensor
) -> list[float]:
    real = layer_features(names, targets, network=network)
    scores = []
    for preds in kinds:
        fake = layer_features(names, preds, network=network)
        for name in names:
            distance = FEATURE_EXTRACTORS[name].compared_by == "correlation_distance"
            score = (
                correlation_distance(fake[name], real[name])
                if distance
                else two_way_identification(fake[name], real[name], tie=0)
            )
            scores.append(float(score.double().mean()))
    return scores


def notebook_retrieval(brain: Tensor, clip: Tensor, pool: int) -> list[float]:
    """Average top-1 over samples of the gallery."""
    hits = []
    for sample in range(SAMPLES):
        rows = torch.randperm(len(clip), generator=generator(0, sample))[:pool]
        near = F.normalize(brain[rows], dim=1) @ F.normalize(clip[rows], dim=1).T
        hits.append(float((near.argmax(dim=1) == torch.arange(pool)).float().mean()))
    return [float(np.mean(hits))]


def timed(
    part: str, ours: Callable[[], list[float]], theirs: Callable[[], list[float]]
) -> dict[str, float | str]:
    seconds, values = [], []
    for function in (theirs, ours):
        start = time.perf_counter()
        values.append(function())
        seconds.append(time.perf_counter() - start)
    gap = float(np.abs(np.subtract(values[0], values[1])).max())
    row: dict[str, float | str] = {
        "part": part,
        "notebook_s": seconds[0],
        "ours_s": seconds[1],
        "times": seconds[0] / seconds[1],
        "largest_difference": gap,
    }
    print({k: v if isinstance(v, str) else float(f"{v:.3g}") for k, v in row.items()}, flush=True)
    return row


Pair = tuple[Callable[[], list[float]], Callable[[], list[float]]]


def on_kinds(
    ours: Callable[[Tensor, Tensor], Tensor],
    theirs: Callable[[Tensor, Tensor], float],
    *,
    kinds: Sequence[Tensor],
    targets: Tensor,
) -> Pair:
    return (
        lambda: [float(ours(k, targets).double().mean()) for k in kinds],
        lambda: [theirs(k, targets) for k in kinds],
    )


def on_network(
    names: Sequence[str], network: nn.Module, *, kinds: Sequence[Tensor], targets: Tensor
) -> Pair:
    return (
        lambda: our_network(names, network, kinds=kinds, targets=targets),
        lambda: [
            notebook_network(name, network, preds=k, targets=targets)
            for k in kinds
            for name in names
        ],
    )


def build(model: str) -> nn.Module:
    models = require("torchvision", extra="demo", purpose="The benchmark").models
    with process_rng(0, model):
        options = {"init_weights": False, "transform_input": True} if "inception" in model else {}
        network: nn.Module = models.get_model(model, weights=None, **options)
        for parameter in network.parameters():
            if parameter.ndim > 1:  # torchvision's own start lets deep features die out
                nn.init.kaiming_normal_(parameter)
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=16_640)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    random, n = generator(0, "images"), options.images
    targets = resized(torch.rand(n, 3, 24, 24, generator=random), 256)
    kinds = [
        (targets + 0.2 * i * torch.randn(targets.shape, generator=random)).clamp(0, 1)
        for i in range(1, 5)
    ]
    clip = torch.randn(n, options.width, generator=random)
    brain = clip + 6 * torch.randn(clip.shape, generator=random)
    pool = min(POOL, n * 3 // 10)
    rows = [
        timed("pixcorr", *on_kinds(pixcorr, notebook_pixcorr, kinds=kinds, targets=targets)),
        timed("ssim", *on_kinds(ssim, notebook_ssim, kinds=kinds, targets=targets)),
    ]
    for model in options.networks:
        names = NETWORKS[model]
        rows.append(timed(model, *on_network(names, build(model), kinds=kinds, targets=targets)))
    rows.append(
        timed(
            "retrieval",
            lambda: [float(top_k_hits(similarity(brain, clip), k=1, pool=pool).mean())],
            lambda: notebook_retrieval(brain, clip, pool),
        )
    )
    total = [sum(float(r[k]) for r in rows) for k in ("notebook_s", "ours_s")]
    facts = {"machine": platform.machine(), "torch": torch.__version__, **vars(options)}
    result = {**facts, "rows": rows, "times": total[0] / total[1], "peak_gib": peak_memory_gib()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
