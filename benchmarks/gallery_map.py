"""What can people with many trials teach about a person with few? Closed forms, everybody in turn.

Run: python benchmarks/gallery_map.py --source runs/demo/data [--trials 300]
Each of a data set's people is the new one once, with the first trials of session 1. All arms share
the new person's ridge to the principal components of the tokens; they differ in what the decoded
components are compared with: the true ones of each candidate (a plain ridge), with CSLS from the
training bank, weighted by how well the other people's brains carry each component, or as the other
people's brains are expected to make them (`mindeye2.models.expectation`), or as the new person's
own trials suggest. Top-1 among the test images, mean over people. The last line is JSON.
"""

import argparse
import json
import platform
import time
from collections import defaultdict
from pathlib import Path

import torch
import torch.nn.functional as F

from mindeye2.core.runtime import generator
from mindeye2.data.prepared import open_prepared
from mindeye2.generation.retrieval import fit_calibration, similarity
from mindeye2.models.closed_form import fit_ridge, image_folds, principal_axes
from mindeye2.models.expectation import fit_expectation
from mindeye2.training.trials import all_images, load_targets, load_trials

PENALTY = 300.0


def top1(scores: torch.Tensor) -> float:
    return float((scores.argmax(dim=1) == torch.arange(len(scores))).float().mean())


def centred(predicted: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
    unit = lambda x: F.normalize(x - x.mean(dim=0), dim=1)  # noqa: E731
    return unit(predicted) @ unit(gallery).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--codes", type=int, default=384)
    args = parser.parse_args()
    began = time.monotonic()
    prepared = open_prepared(args.source)
    people = prepared.subjects
    tokens = load_targets(prepared, "lite0").flatten(1)
    trials = {s: load_trials(prepared, s, ["train"]) for s in people}
    axes, mean = principal_axes(tokens[all_images(trials)], n_codes=args.codes)
    codes = (tokens - mean) @ axes
    held = {}
    for person, own in trials.items():  # one session is fitted, the other images are predicted
        parts = []
        for session in own.sessions.unique():
            fitted = own.sessions == session
            rest = own.rows(~torch.isin(own.images, own.images[fitted])).averaged()
            ridge = fit_ridge(own.betas[fitted], codes[own.images[fitted]])
            parts.append((ridge.predict(rest.betas, PENALTY), codes[rest.images]))
        held[person] = [torch.cat(p) for p in zip(*parts, strict=True)]
    scores = defaultdict(list)
    for person in people:
        first = (trials[person].sessions == 1).nonzero()[: args.trials, 0]
        new = trials[person].rows(first)
        test = load_trials(prepared, person, ["test"]).averaged()
        true, known = codes[test.images], new.averaged()
        ridge = fit_ridge(new.betas, codes[new.images])
        predicted = ridge.predict(test.betas, PENALTY)
        remembered = ridge.predict(known.betas, PENALTY)
        scores["plain ridge, centred"].append(top1(centred(predicted, true)))
        plain = fit_calibration(remembered, codes[known.images])
        scores["plain ridge, centred and CSLS"].append(top1(similarity(predicted, true, plain)))
        others = [torch.cat(p) for p in zip(*(held[p] for p in people if p != person), strict=True)]
        spread = [x - x.mean(dim=0) for x in others]
        carried = (spread[0] * spread[1]).mean(dim=0) / (spread[0].std(0) * spread[1].std(0))
        weight = carried.clamp_min(0).sqrt()
        scores["weighted by others' reliability"].append(
            top1(centred(predicted * weight, true * weight))
        )
        own = torch.zeros(len(new), args.codes)
        for fold in image_folds(new.images, n_folds=5, generator=generator(0, "folds", person)):
            kept = torch.ones(len(new), dtype=torch.bool)
            kept[fold] = False
            part = fit_ridge(new.betas[kept], codes[new.images[kept]])
            own[fold] = part.predict(new.betas[fold], PENALTY)
        for name, (made, truth) in {
            "others": others,
            "the person's own trials": (own, codes[new.images]),
        }.items():
            for share in (0.03, 0.1, 0.3, 1.0):
                identity = {"mean": torch.zeros(args.codes), "axes": torch.eye(args.codes)}
                unit = float(truth.square().sum() / args.codes)
                expect = fit_expectation(made, truth, **identity, penalty=share * unit)
                gallery, bank = expect(true), expect(codes[known.images])
                label = f"candidates as expected from {name}, penalty {share:g}"
                scores[label].append(top1(centred(predicted, gallery)))
                calibration = fit_calibration(remembered, bank)
                scores[f"{label}, CSLS"].append(top1(similarity(predicted, gallery, calibration)))
    means = {name: round(sum(v) / len(v), 4) for name, v in scores.items()}
    for name, value in means.items():
        print(f"{value:.3f}  {name}")
    print(
        json.dumps(
            {
                "name": "gallery_map",
                "trials": args.trials,
                "people": len(people),
                "test_images": len(prepared.images_of("test")),
                "top1": means,
                "seconds": round(time.monotonic() - began),
                "machine": platform.machine(),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
