"""Which EfficientNet-Lite0 blocks should the tokens come from? Layout is what decides.

Run: python tools/choose_token_blocks.py
For each choice of blocks and components: PixCorr of test scenes (cut-outs and backgrounds that no
training scene uses) predicted from their TRUE tokens by two linear maps fitted on training scenes,
one from all tokens at once, one from each 3 x 3 neighbourhood. The last line is one JSON object.
"""

import argparse
import json
import platform
import time

import torch
import torch.nn.functional as F
from fit_tokens import fit_projection

from mindeye2.core.runtime import progress
from mindeye2.data.scenes import load_photographs, make_scenes
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.encoders.tokens import cells
from mindeye2.metrics import row_correlation
from mindeye2.models.closed_form import fit_ridge

CHOICES = [
    {10: 128},
    {15: 128},
    {10: 64, 15: 64},
    {2: 24, 10: 48, 15: 56},
    {4: 32, 10: 48, 15: 48},
    {0: 16, 4: 16, 15: 96},
    {0: 8, 4: 24, 10: 48, 15: 48},
    {0: 12, 2: 12, 10: 48, 15: 56},
]
SIZE = 112


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--test", type=int, default=200)
    args = parser.parse_args()
    began = time.monotonic()
    n, images = args.train, []
    maps: dict[int, list[torch.Tensor]] = {block: [] for choice in CHOICES for block in choice}
    network = LiteFeatures(0)
    for split, count in (("train", args.train), ("test", args.test)):
        scenes, _, _ = make_scenes(count, library=load_photographs(split=split), seed=7)
        for start in progress(range(0, count, 25), label=split):
            batch = to_float(scenes[start : start + 25])
            images.append(F.interpolate(batch, (SIZE, SIZE), mode="area"))
            with torch.inference_mode():
                for block, output in zip(maps, network.blocks_at(batch, list(maps)), strict=True):
                    maps[block].append(cells(output))
    joined = {block: torch.cat(parts) for block, parts in maps.items()}
    flat = torch.cat(images).flatten(1)
    true, mean = flat[n:], flat[:n].mean(dim=0)
    # Pixels through their leading components: the maps stay small and lose nothing that counts.
    _, _, axes = torch.pca_lowrank(flat[:n] - mean, q=min(400, n // 2), niter=3)
    codes = (flat - mean) @ axes
    rows = []
    for choice in CHOICES:
        projection = fit_projection({b: joined[b][:n] for b in choice}, n_components=choice)
        parts = [(joined[b] - projection.shift[b]) @ projection.components[b] for b in choice]
        tokens = (torch.cat(parts, dim=2) - projection.mean) / projection.std
        ridge = fit_ridge(tokens[:n].flatten(1), codes[:n])
        scores = [
            float(
                row_correlation(
                    ridge.predict(tokens[n:].flatten(1), p) @ axes.T + mean, true
                ).mean()
            )
            for p in (1e3, 1e4, 1e5)
        ]
        rows.append({"blocks": choice, "all_tokens": round(max(scores), 3)})
        rows[-1]["neighbourhood"] = round(_local(tokens, torch.cat(images), n), 3)
        print(rows[-1])
    floor = float(row_correlation(mean.expand_as(true), true).mean())
    print(
        json.dumps(
            {
                "name": "token_choice",
                **vars(args),
                "pixcorr": rows,
                "mean_image": round(floor, 3),
                "seconds": round(time.monotonic() - began),
                "machine": platform.machine(),
                "torch": torch.__version__,
            }
        )
    )


def _local(tokens: torch.Tensor, images: torch.Tensor, n: int) -> float:
    side, cell = 7, SIZE // 7
    grid = tokens.transpose(1, 2).unflatten(2, (side, side))
    X = F.unfold(grid, 3, padding=1).transpose(1, 2)
    Y = F.pixel_unshuffle(images, cell).flatten(2).transpose(1, 2)
    x, y = X[:n].flatten(0, 1), Y[:n].flatten(0, 1)
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    gram = (x - x_mean).T @ (x - x_mean)
    gram.diagonal().add_(1e3)
    weights = torch.linalg.solve(gram, (x - x_mean).T @ (y - y_mean))
    predicted = ((X[n:] - x_mean) @ weights + y_mean).transpose(1, 2).unflatten(2, (side, side))
    return float(
        row_correlation(F.pixel_shuffle(predicted, cell).flatten(1), images[n:].flatten(1)).mean()
    )


if __name__ == "__main__":
    main()
