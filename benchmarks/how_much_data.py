"""Simulate identification against the number of images and trials, for docs/how-much-data.md.

Run: python benchmarks/how_much_data.py --figure docs/images/how-much-data.svg
Images have 200 features whose variances fall as 1 / k; each of 500 voxels is a random linear
mixture of them plus noise, so that the image explains the same fraction of the variance of each
voxel in one trial (its noise ceiling). Features are predicted by the closed-form ridge of recipe
`ridge`, alpha chosen as there. Three questions: which of ten known images (single trials), which
of 100 new images (three trials averaged), and whether to repeat training images. Means over
simulations. The last line is one JSON object.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.runtime import generator
from mindeye2.metrics.stats import proportion_interval
from mindeye2.models.closed_form import (
    RidgeProblem,
    centred_cosines,
    choose_alpha,
    mean_by_image,
)
from mindeye2.reporting import Curve, CurvePanel
from mindeye2.reporting.figures import curve_svg

N_FEATURES, N_VOXELS = 200, 500
CEILINGS = (0.02, 0.05, 0.1, 0.2)
"""Fractions of the variance of a voxel in one trial that come from the image."""
STYLE = (
    "<style>text{font:11px sans-serif;fill:#444}path{fill:none;stroke-width:1.6}"
    ".s1{stroke:#9aa7b8}.s2{stroke:#5b8db8}.s3{stroke:#2b5f94}.s4{stroke:#0c2d57}"
    ".grid,.axis,line{stroke:#ccc;stroke-width:1}.chance{stroke-dasharray:4 3;stroke:#888}</style>"
)


class Brain:
    """Voxels that mix the features of an image, and noise."""

    def __init__(self, ceiling: float, seed: int) -> None:
        self.rng = generator(seed, "how much data", ceiling)
        self.scale = torch.arange(1, N_FEATURES + 1).rsqrt()
        mixing = torch.randn(N_FEATURES, N_VOXELS, generator=self.rng)
        signal = (mixing * self.scale[:, None]).square().sum(dim=0).sqrt()
        self.mixing = mixing / signal * ceiling**0.5
        self.noise = (1 - ceiling) ** 0.5

    def images(self, n: int) -> Float[Tensor, "images features"]:
        """Sample the features of images."""
        features: Tensor = self.scale * torch.randn(n, N_FEATURES, generator=self.rng)
        return features

    def respond(
        self, features: Float[Tensor, "trials features"]
    ) -> Float[Tensor, "trials voxels"]:
        """Sample a response to each row."""
        noise = torch.randn(len(features), N_VOXELS, generator=self.rng)
        betas: Tensor = features @ self.mixing + self.noise * noise
        return betas


def known(ceiling: float, seed: int, *, n_trials: int, n_images: int = 10) -> float:
    """Return the fraction of single trials whose image is identified among known ones."""
    brain = Brain(ceiling, seed)
    images = brain.images(n_images)
    shown, asked = (torch.arange(n_images).repeat(n) for n in (n_trials, 20))
    problem = RidgeProblem(brain.respond(images[shown]), images[shown])
    folds = generator(seed, "folds")
    alpha, _ = choose_alpha(problem, shown, generator=folds, known_images=True)
    preds = problem.fit().predict(brain.respond(images[asked]), alpha)
    return float((centred_cosines(preds, images).argmax(dim=1) == asked).float().mean())


def new(ceiling: float, seed: int, *, n_images: int, repeats: int = 1) -> float:
    """Return how often an image that was not trained on is found among 100."""
    brain = Brain(ceiling, seed)
    train, test = brain.images(n_images), brain.images(100)
    shown, asked = torch.arange(n_images).repeat(repeats), torch.arange(100).repeat(3)
    problem = RidgeProblem(brain.respond(train[shown]), train[shown])
    alpha, _ = choose_alpha(problem, shown, generator=generator(seed, "folds"))
    preds, _ = mean_by_image(problem.fit().predict(brain.respond(test[asked]), alpha), asked)
    hits = centred_cosines(preds, test).argmax(dim=1) == torch.arange(100)
    return float(hits.float().mean())


def curve(
    score: Callable[..., float], sizes: Sequence[int], name: str, *, ceiling: float, seeds: int
) -> list[float]:
    """Return the mean score over simulations for each size."""
    return [
        round(float(np.mean([score(ceiling, s, **{name: n}) for s in range(seeds)])), 3)
        for n in sizes
    ]


def figure(results: dict[str, Any]) -> str:
    """Draw the first two questions side by side, one line a noise ceiling."""
    parts = []
    for row, (key, sizes, title, label, chance) in enumerate(
        (
            ("known", "trials_per_known_image", "one of 10 known images", "trials an image", 0.1),
            ("new", "training_images", "one of 100 new images", "training images", 0.01),
        )
    ):
        panel = CurvePanel(
            title=title,
            x_label=f"{label} (training)",
            y_label=f"found: {title}",
            percent=True,
            chance=chance,
            curves=[Curve(name=n, x=results[sizes], y=y) for n, y in results[key].items()],
        )
        drawn = str(curve_svg(panel)).replace("<svg ", f'<svg x="{340 * row}" width="320" ', 1)
        parts.append(drawn)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 220" width="660">'
        f"{STYLE}{''.join(parts)}</svg>\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", type=Path, help="SVG file to write")
    parser.add_argument("--seeds", type=int, default=8, help="simulations of each point")
    args = parser.parse_args()
    began, seeds = time.monotonic(), args.seeds
    trials, images = (2, 4, 8, 16, 32, 64), (100, 200, 400, 800, 1600, 3200)
    results = {
        "ceilings": CEILINGS,
        "trials_per_known_image": trials,
        "known": {
            f"{c:.0%}": curve(known, trials, "n_trials", ceiling=c, seeds=seeds) for c in CEILINGS
        },
        "training_images": images,
        "new": {
            f"{c:.0%}": curve(new, images, "n_images", ceiling=c, seeds=seeds) for c in CEILINGS
        },
        "new_1200_trials": {
            f"{c:.0%}": {
                f"{1200 // r} images, {r} times": round(
                    float(
                        np.mean([new(c, s, n_images=1200 // r, repeats=r) for s in range(seeds)])
                    ),
                    3,
                )
                for r in (1, 3, 12)
            }
            for c in CEILINGS
        },
        "interval_at_half": {
            n: [
                round(end, 2) for end in (lambda i: (i.low, i.high))(proportion_interval(0.5, n=n))
            ]
            for n in (10, 20, 50, 100, 1000)
        },
        "seeds": seeds,
        "seconds": round(time.monotonic() - began, 1),
    }
    if args.figure:
        args.figure.write_text(figure(results))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
