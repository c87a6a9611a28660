"""The published evaluation notebook's scores; see README.md beside this file."""

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from mindeye2 import metrics
from mindeye2.core.errors import require
from mindeye2.encoders import FEATURE_EXTRACTORS, metric_features

HERE = Path(__file__).parent
NETWORKS = {
    "alexnet2": "alexnet",
    "alexnet5": "alexnet",
    "inception": "inception_v3",
    "effnet": "efficientnet_b1",
    "swav": "resnet50",
}


@pytest.fixture(scope="module")
def want():
    return json.loads((HERE / "metrics.json").read_text())


@pytest.fixture(scope="module")
def images():
    """Return (reconstructions, true images), which are too large for the repository."""
    shared = HERE.parents[2] / "shared" / "golden"
    for folder in (Path(os.environ.get("MINDEYE2_GOLDEN", HERE)), shared):
        path = folder / "metrics.npz"
        if path.exists():
            with np.load(path) as case:
                if "images" in case:
                    return tuple(
                        torch.from_numpy(case[key]).float() / 255 for key in ("recons", "images")
                    )
    pytest.skip(f"needs the full metrics.npz in {shared}, or its folder in MINDEYE2_GOLDEN")


def filled(model):
    """Build a network whose weights are functions of their names, as the golden run had them."""
    build = getattr(require("torchvision", extra="demo", purpose="A test").models, model)
    options = {"init_weights": False, "transform_input": True, "aux_logits": True}
    network = build(**(options if model == "inception_v3" else {}))
    for key, parameter in network.state_dict().items():
        if parameter.is_floating_point() and not key.endswith(("running_mean", "running_var")):
            seeded = np.random.RandomState(zlib.crc32(key.encode()))
            w = seeded.standard_normal(tuple(parameter.shape)).astype(np.float32)
            if parameter.ndim >= 2:
                w = w * (2 / np.prod(parameter.shape[1:])) ** 0.5
            else:
                w = 0.1 * w + (1.0 if key.endswith(".weight") else 0.0)
            parameter.copy_(torch.from_numpy(np.asarray(w, dtype=np.float32)))
    return network.eval()


def test_retrieval_under_its_published_names(want):
    """The published "image" ranks brain samples for each image, "brain" the other way round."""
    with np.load(HERE / "metrics.npz") as case:
        image, brain = (torch.from_numpy(case[key]) for key in ("clip_image", "clip_brain"))
    got = {
        "retrieval_image_top1": metrics.top_k_accuracy(image, brain, k=1),
        "retrieval_image_top5": metrics.top_k_accuracy(image, brain, k=5),
        "retrieval_brain_top1": metrics.top_k_accuracy(brain, image, k=1),
    }
    for name, scores in got.items():
        assert float(scores.mean()) == pytest.approx(want[name]), name


@pytest.mark.parametrize("name", ["pixcorr", "ssim"])
def test_pixel_metrics(name, images, want):
    scores = getattr(metrics, name)(*images)
    assert float(scores.mean()) == pytest.approx(want[name], rel=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_metric_networks(name, images, want):
    network = filled(NETWORKS[name])
    preds, targets = (metric_features(name, x, network=network) for x in images)
    scores = getattr(metrics, FEATURE_EXTRACTORS[name].compared_by)(preds, targets)
    # Distances are 1 - r in float32, which leaves seven decimals.
    assert float(scores.mean()) == pytest.approx(want[name], rel=1e-4, abs=2e-7)
