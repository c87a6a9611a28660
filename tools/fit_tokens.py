"""Fit the token projection that the package ships, on training scenes only.

Run: python tools/fit_tokens.py
Writes src/mindeye2/assets/encoder/tokens.safetensors. The image decoder and every prepared data
set depend on it: fit it again only together with them.

Blocks and components were chosen by how well a linear map from true tokens predicts the pixels of
test scenes (docs/log.md).
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

import mindeye2
from mindeye2.core.runtime import progress
from mindeye2.data.scenes import load_photographs, make_scenes
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.encoders.tokens import TokenProjection, cells

N_COMPONENTS = {0: 12, 2: 12, 10: 48, 15: 56}
N_SCENES = 1500


def fit_projection(
    embedded: Mapping[int, Tensor], *, n_components: Mapping[int, int]
) -> TokenProjection:
    """Fit PCA and z-scoring to the cells of each block, (images, tokens, features)."""
    shift, components, scores = {}, {}, []
    for block, count in n_components.items():
        flat = embedded[block].flatten(0, 1).double()
        shift[block] = flat.mean(dim=0).float()
        _, vectors = torch.linalg.eigh(torch.cov(flat.T))
        components[block] = vectors.flip(1)[:, :count].float()
        scores.append((embedded[block] - shift[block]) @ components[block])
    tokens = torch.cat(scores, dim=2)
    return TokenProjection(
        blocks=tuple(n_components),
        shift=shift,
        components=components,
        mean=tokens.mean(dim=0),
        std=tokens.std(dim=0).clamp_min(1e-6),
    )


def main() -> None:
    images, _, _ = make_scenes(N_SCENES, library=load_photographs(split="train"), seed=2)
    network = LiteFeatures(0)
    maps: dict[int, list[torch.Tensor]] = {block: [] for block in N_COMPONENTS}
    with torch.inference_mode():
        for start in progress(range(0, N_SCENES, 25), label="maps"):
            batch = to_float(images[start : start + 25])
            outputs = network.blocks_at(batch, list(maps))
            for block, output in zip(N_COMPONENTS, outputs, strict=True):
                maps[block].append(cells(output))
    joined = {block: torch.cat(parts) for block, parts in maps.items()}
    out = Path(mindeye2.__file__).parent / "assets" / "encoder"
    out.mkdir(parents=True, exist_ok=True)
    fit_projection(joined, n_components=N_COMPONENTS).save(out / "tokens.safetensors")


if __name__ == "__main__":
    main()
