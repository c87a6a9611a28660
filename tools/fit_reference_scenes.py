"""Fit what the package ships of its 8,000 reference scenes: features, their regression, kinds.

Run: mindeye2 prepare scenes --out runs/scenes
     mindeye2 demo --out runs/demo
     python tools/fit_reference_scenes.py runs/scenes runs/demo/adapted
The probabilities of kinds are calibrated for decoding as the run's forward model expects it.
Writes src/mindeye2/assets/scenes/scenes.safetensors. `mindeye2.generation.reference_scenes` says
what is in it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from mindeye2.core.runtime import generator, progress
from mindeye2.data.prepared import open_prepared
from mindeye2.data.scenes import reference_photographs
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.generation.reference_scenes import PARTS, ReferenceScenes, compared_components
from mindeye2.generation.scene_kinds import calibrate_kinds
from mindeye2.models.checkpoint import load_run
from mindeye2.models.forward_model import load_forward_model
from mindeye2.models.pca import pca_components

N_COMPONENTS = 128
"""Of tokens and of features: with more, the chosen scenes are no nearer."""

_PHOTOGRAPH = {"object": 0, "number": 0, "setting": 1, "light": 1}
"""Whose photographs are left out to calibrate a part: those of objects, or of backgrounds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="prepared data set of the recipe 'scenes'")
    parser.add_argument("run", type=Path, help="run of the encoder lite0 with a forward model")
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
    model = load_forward_model(args.run, load_run(args.run).model.backbone.output)
    if model is None:
        parser.error(
            f"{args.run} has no forward model; give a run that was adapted, or pretrained."
        )
    scaled = (components * sd).T
    expected = compared_components(
        scaled,
        mean=mean,
        shape=prepared.targets("lite0").shape[1:],
        forward_model=model,
        whiten=model.whiten,
    )
    photographs = [reference_photographs(i) for i in range(len(tokens))]
    kinds = {
        part: calibrate_kinds(
            scores / sd,
            np.array(prepared.kinds[part]),
            photographs=np.array([shown[_PHOTOGRAPH[part]].source for shown in photographs]),
            names=list(names),
            gram=expected @ expected.T,
            generator=generator(0, "kinds", part),
        )
        for part, names in PARTS.items()
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    ReferenceScenes(
        token_mean=mean,
        token_components=scaled,
        features=features,
        covariance=(scores / sd).T @ features / len(tokens),
        kinds=kinds,
    ).save(args.out)
    weights = ", ".join(f"{part} {k.weight:.2f}" for part, k in kinds.items())
    sys.stdout.write(f"weights: {weights}\n")


if __name__ == "__main__":
    main()
