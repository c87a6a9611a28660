"""What can people with many trials teach about a person with few? Closed forms, everybody in turn.

Run: python benchmarks/gallery_map.py --source runs/demo/data [--trials 300]
Each of a data set's people is the new one once, with the first trials of session 1. All arms share
the new person's ridge to the principal components of the tokens; they differ in what the decoded
components are compared with: the true ones of each candidate (a plain ridge), with CSLS from the
training bank, weighted by how well the other people's brains carry each component, or as the other
people's brains are expected to make them (`mindeye2.models.forward_model`), or as the new person's
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
from mindeye2.metrics.retrieval import fit_calibration, similarity
from mindeye2.models.closed_form import fit_ridge, image_folds, pca_components
from mindeye2.models.forward_model import fit_forward_model
from mindeye2.training.trials import SubjectTrials, all_images, load_targets, load_trials

PENALTY = 300.0


def top1(scores: torch.Tensor) -> float:
    return float((scores.argmax(dim=1) == torch.arange(len(scores))).float().mean())


def centred(predicted: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
    unit = [F.normalize(x - x.mean(dim=0), dim=1) for x in (predicted, gallery)]
    return unit[0] @ unit[1].T


def held_out(
    trials: dict[str, SubjectTrials], codes: torch.Tensor
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return predicted and true codes of each person: one session is fitted, others predicted."""
    held = {}
    for person, own in trials.items():
        made, truth = [], []
        for session in own.sessions.unique():
            fitted = own.sessions == session
            rest = own.rows(~torch.isin(own.images, own.images[fitted])).averaged()
            ridge = fit_ridge(own.betas[fitted], codes[own.images[fitted]])
            made.append(ridge.predict(rest.betas, PENALTY))
            truth.append(codes[rest.images])
        held[person] = (torch.cat(made), torch.cat(truth))
    return held


def own_held_out(
    new: SubjectTrials, codes: torch.Tensor, person: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return predicted and true codes of a new person's own trials, by five folds over images."""
    made = torch.zeros(len(new), codes.shape[1])
    for fold in image_folds(new.images, n_folds=5, generator=generator(0, "folds", person)):
        kept = torch.ones(len(new), dtype=torch.bool)
        kept[fold] = False
        ridge = fit_ridge(new.betas[kept], codes[new.images[kept]])
        made[fold] = ridge.predict(new.betas[fold], PENALTY)
    return made, codes[new.images]


def score_person(
    new: SubjectTrials,
    test: SubjectTrials,
    codes: torch.Tensor,
    *,
    sources: dict[str, tuple[torch.Tensor, torch.Tensor]],
) -> dict[str, float]:
    """Return top-1 of every way to compare one new person's predictions with candidates."""
    true, known, width = codes[test.images], new.averaged(), codes.shape[1]
    ridge = fit_ridge(new.betas, codes[new.images])
    predicted, remembered = (ridge.predict(t.betas, PENALTY) for t in (test, known))
    plain = fit_calibration(remembered, codes[known.images])
    made, truth = (x - x.mean(dim=0) for x in sources["others"])
    weight = ((made * truth).mean(dim=0) / (made.std(0) * truth.std(0))).clamp_min(0).sqrt()
    scores = {
        "plain ridge, centred": top1(centred(predicted, true)),
        "plain ridge, centred and CSLS": top1(similarity(predicted, true, plain)),
        "weighted by others' reliability": top1(centred(predicted * weight, true * weight)),
    }
    identity = {"mean": torch.zeros(width), "components": torch.eye(width)}
    for name, (made, truth) in sources.items():
        unit = float(truth.square().sum() / width)
        for share in (0.03, 0.1, 0.3, 1.0):
            forward_model = fit_forward_model(made, truth, **identity, alpha=share * unit)
            gallery, bank = forward_model(true), forward_model(codes[known.images])
            label = f"candidates as expected from {name}, penalty {share:g}"
            scores[label] = top1(centred(predicted, gallery))
            calibration = fit_calibration(remembered, bank)
            scores[f"{label}, CSLS"] = top1(similarity(predicted, gallery, calibration))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--codes", type=int, default=384)
    args = parser.parse_args()
    began = time.monotonic()
    prepared = open_prepared(args.source)
    people = prepared.subjects
    bank = load_targets(prepared, "lite0")
    tokens = bank[torch.arange(len(bank))].flatten(1)
    trials = {s: load_trials(prepared, s, ["train"]) for s in people}
    axes, mean = pca_components(tokens[all_images(trials)], n_components=args.codes)
    codes = (tokens - mean) @ axes
    held = held_out(trials, codes)
    scores = defaultdict(list)
    for person in people:
        first = (trials[person].sessions == 1).nonzero()[: args.trials, 0]
        new = trials[person].rows(first)
        others = [held[p] for p in people if p != person]
        sources = {
            "others": (torch.cat([m for m, _ in others]), torch.cat([t for _, t in others])),
            "the person's own trials": own_held_out(new, codes, person),
        }
        test = load_trials(prepared, person, ["test"]).averaged()
        for name, value in score_person(new, test, codes, sources=sources).items():
            scores[name].append(value)
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
