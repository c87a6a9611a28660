"""Compare reconstructions with the nearest training scene and with photographs.

Run: mindeye2 prepare scenes --out runs/scenes
     python benchmarks/reconstructions.py runs/demo/adapted-decoded --scenes runs/scenes
For each kind of images: two-way identification by EfficientNet-Lite1, also minus that of the
training scene whose tokens are nearest (forward model, CSLS); PixCorr; and two distances of the
set of images from test photographs, each relative to that of as many training photographs:
amplitude above a quarter of the Nyquist frequency, and the Frechet distance of Lite1 features.
The last line is one JSON object.
"""

import argparse
import json
import platform
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file
from scipy.linalg import sqrtm
from torch import Tensor

from mindeye2.core.artifacts import read_manifest, resolve_path
from mindeye2.core.runtime import available_cores, generator, progress
from mindeye2.data.prepared import Prepared, open_prepared
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.metrics import TwoWayIdentification, bootstrap_interval, paired_difference, pixcorr
from mindeye2.metrics.gallery_search import search_gallery
from mindeye2.metrics.retrieval import Queries, fit_calibration
from mindeye2.models.checkpoint import load_run
from mindeye2.models.forward_model import load_forward_model

SIDE = 112
"""Side in pixels at which images are compared."""
COMPONENTS = 32
"""Principal components of Lite1 features in the Frechet distance."""


def resized(images: np.ndarray) -> Float[Tensor, "images rgb height width"]:
    return F.interpolate(to_float(images), (SIDE, SIDE), mode="area")


def features(network: LiteFeatures, images: Tensor) -> Float[Tensor, "images features"]:
    return torch.cat([network.pooled(x) for x in images.split(32)])


def nearest_scenes(decoded: Path, run: Path, scenes: Prepared) -> Tensor:
    """Return the scene whose expected tokens are nearest to those of each image."""
    tokens = {name: x.float() for name, x in load_file(decoded / "tokens.safetensors").items()}
    forward = load_forward_model(run, load_run(run).model.backbone.output)
    calibration = fit_calibration(tokens["training_backbone"], tokens["training_expected"])
    bank = scenes.targets("lite0")

    def blocks() -> Iterator[Tensor]:
        for start in progress(range(0, len(bank), 500), label="scenes"):
            block = torch.from_numpy(bank[start : start + 500].astype(np.float32))
            yield block if forward is None else forward(block)

    return search_gallery(Queries(tokens["backbone"], calibration), blocks(), k=1).indices[:, 0]


def amplitude(images: Float[Tensor, "images rgb height width"]) -> float:
    """Return the mean root power of luminance above a quarter of the Nyquist frequency."""
    grey = images.mean(dim=1)
    window = torch.hann_window(SIDE)
    spectrum = torch.fft.fft2(
        (grey - grey.mean(dim=(1, 2), keepdim=True)) * window * window[:, None]
    )
    frequency = torch.fft.fftfreq(SIDE)
    radius = (frequency[:, None].square() + frequency.square()).sqrt()
    power = spectrum.abs().square()[:, (radius > 0.125) & (radius < 0.5)]
    return float(power.sum(dim=1).sqrt().mean())


def frechet(first: Tensor, second: Tensor) -> float:
    """Return the Frechet distance of two sets of features, as normal distributions."""
    a, b = np.cov(first.T.numpy()), np.cov(second.T.numpy())
    gap = float((first.mean(dim=0) - second.mean(dim=0)).square().sum())
    return gap + float(np.trace(a + b - 2 * sqrtm(a @ b).real))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("decoded", type=Path, help="folder of mindeye2 reconstruct")
    parser.add_argument("--scenes", type=Path, required=True, help="prepared recipe 'scenes'")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    manifest = read_manifest(args.decoded, stage="reconstruct")["config"]
    run = resolve_path(manifest["init"], folder=args.decoded)
    prepared = open_prepared(resolve_path(manifest["source"], folder=args.decoded))
    scenes, network = open_prepared(args.scenes), LiteFeatures(1)
    shown = pd.read_parquet(args.decoded / "items.parquet")["image"].to_numpy()
    seen, n = resized(prepared.images[shown]), len(shown)
    kinds = {
        name: resized(np.load(args.decoded / f"{name}.npy"))
        for name in ("unclip", "refined", "blended", "lowlevel", "ceiling")
        if (args.decoded / f"{name}.npy").exists()
    }
    nearest = nearest_scenes(args.decoded, run, scenes).numpy()
    kinds["nearest scene"] = resized(np.stack([scenes.images[i] for i in nearest]))
    chosen = np.random.default_rng(0).choice(len(scenes.images), n, replace=False)
    kinds["training photographs"] = resized(np.stack([scenes.images[i] for i in chosen]))
    of_seen = features(network, seen)
    identify = TwoWayIdentification(of_seen)
    found = {name: features(network, images) for name, images in kinds.items()}
    scores = {name: identify(x) for name, x in found.items()}
    mean = of_seen.mean(dim=0)
    components = torch.pca_lowrank(of_seen - mean, q=COMPONENTS, niter=4)[2]
    distances = {
        name: frechet((x - mean) @ components, (of_seen - mean) @ components)
        for name, x in found.items()
    }
    rows = {}
    for name, images in kinds.items():
        two_way = bootstrap_interval(scores[name], generator=generator(0, name))
        row = {
            "two_way": [round(v, 4) for v in (two_way.mean, two_way.low, two_way.high)],
            "pixcorr": round(float(pixcorr(images.clamp(0, 1), seen).mean()), 4),
            "amplitude": round(amplitude(images) / amplitude(seen), 3),
            "frechet": round(distances[name] / distances["training photographs"], 3),
        }
        if name != "nearest scene":
            gap = paired_difference(
                scores[name], scores["nearest scene"], generator=generator(1, name)
            )
            row["minus_nearest"] = [round(v, 4) for v in (gap.mean, gap.low, gap.high)]
        rows[name] = row
        print(name, row, flush=True)
    facts = {
        "name": "reconstructions",
        "n_images": n,
        "kinds": rows,
        "machine": f"{platform.machine()}, {available_cores()} cores",
        "torch": torch.__version__,
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
