"""Fit what the package ships of its 8,000 reference scenes: features, and their regression.

Run: mindeye2 prepare scenes --out runs/scenes
     python tools/fit_reference_scenes.py runs/scenes
Writes src/mindeye2/assets/scenes/scenes.safetensors. `mindeye2.generation.reference_scenes` says
what is in it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from mindeye2.core.runtime import progress
from mindeye2.data.prepared import open_prepared
from mindeye2.data.scenes import describe_reference
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.generation.reference_scenes import ReferenceScenes
from mindeye2.models.pca import pca_components

N_COMPONENTS = 128
"""Of tokens and of features: with more, the chosen scenes are no nearer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="prepared data set of the recipe 'scenes'")
    parser.add_argument(
        "--out", type=Path, default=Path("src/mindeye2/assets/scenes/scenes.safetensors")
    )
    args = parser.parse_args()
    prepared = open_prepared(args.scenes)
    tokens = torch.from_numpy(prepared.targets("lite0")[:].astype(np.float32)).flatten(1)
    network = LiteFeatures(0)
    with torch.inference_mode():
        pooled = torch.cat(
            [
                network.pooled(to_float(prepared.images[s : s + 32]))
                for s in progress(range(0, len(tokens), 32), label="features")
            ]
        )
    spread = pooled.std(dim=0).clamp_min(1e-3)
    pooled = (pooled - pooled.mean(dim=0)) / spread
    features = pooled @ pca_components(pooled, n_components=N_COMPONENTS)[0]
    components, mean = pca_components(tokens, n_components=N_COMPONENTS)
    scores = (tokens - mean) @ components
    sd = scores.std(dim=0)
    kinds = [describe_reference(i) for i in range(len(tokens))]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    ReferenceScenes(
        token_mean=mean,
        token_components=(components * sd).T,
        features=features,
        covariance=(scores / sd).T @ features / len(tokens),
        objects=np.array([kind for kind, _ in kinds]),
        settings=np.array([kind for _, kind in kinds]),
    ).save(args.out)


if __name__ == "__main__":
    main()
