"""Measure what subjects with many trials add to a subject with few, in closed form.

Run: python benchmarks/gallery_map.py --source runs/demo/data [--trials 300]
Each subject of a prepared data set is the new one once, with the first trials of session 1. All
arms share the new subject's ridge onto the PCA scores of the tokens. They differ in what decoded
scores are compared with: the true scores of each candidate (a plain ridge), with CSLS from the
training bank, weighted by the reliability of each component in the other subjects, or mapped by a
forward model (`mindeye2.models.forward_model`) of the other subjects or of the new subject's own
trials; and in whether both sides are whitened by the errors of decoding, those of the same
subjects. Top-1 among the test images, mean over subjects. The last line is JSON.
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
from mindeye2.models.closed_form import fit_ridge, image_folds
from mindeye2.models.forward_model import fit_forward_model, whitening_map
from mindeye2.models.moments import Moments
from mindeye2.models.pca import pca_components
from mindeye2.training.trials import SubjectTrials, all_images, load_targets, load_trials

ALPHA = 300.0


def top1(scores: torch.Tensor) -> float:
    return float((scores.argmax(dim=1) == torch.arange(len(scores))).float().mean())


def centred(preds: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
    unit = [F.normalize(x - x.mean(dim=0), dim=1) for x in (preds, gallery)]
    return unit[0] @ unit[1].T


def whitening(errors: torch.Tensor) -> torch.Tensor:
    return whitening_map(errors.T.double() @ errors.double() / len(errors)).float()


def held_out(
    trials: dict[str, SubjectTrials], scores: torch.Tensor
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return decoded and true PCA scores of each subject, from ridges fitted to one session."""
    found = {}
    for subject, own in trials.items():
        preds, targets = [], []
        for session in own.sessions.unique():
            fitted = own.sessions == session
            rest = own.rows(~torch.isin(own.images, own.images[fitted])).averaged()
            ridge = fit_ridge(own.betas[fitted], scores[own.images[fitted]])
            preds.append(ridge.predict(rest.betas[:], ALPHA))
            targets.append(scores[rest.images])
        found[subject] = (torch.cat(preds), torch.cat(targets))
    return found


def own_held_out(
    new: SubjectTrials, scores: torch.Tensor, subject: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return decoded and true PCA scores of the new subject, by five folds over images."""
    preds = torch.zeros(len(new), scores.shape[1])
    for fold in image_folds(new.images, n_folds=5, generator=generator(0, "folds", subject)):
        fitted = torch.ones(len(new), dtype=torch.bool)
        fitted[fold] = False
        ridge = fit_ridge(new.betas[fitted], scores[new.images[fitted]])
        preds[fold] = ridge.predict(new.betas[fold], ALPHA)
    return preds, scores[new.images]


def score_subject(
    new: SubjectTrials,
    test: SubjectTrials,
    scores: torch.Tensor,
    *,
    sources: dict[str, tuple[torch.Tensor, torch.Tensor]],
) -> dict[str, float]:
    """Return top-1 of every comparison of the new subject's decoded scores with candidates."""
    true, bank, width = scores[test.images], new.averaged(), scores.shape[1]
    ridge = fit_ridge(new.betas, scores[new.images])
    preds, bank_preds = (ridge.predict(t.betas[:], ALPHA) for t in (test, bank))
    plain = fit_calibration(bank_preds, scores[bank.images])
    x, y = (values - values.mean(dim=0) for values in sources["others"])
    weight = ((x * y).mean(dim=0) / (x.std(0) * y.std(0))).clamp_min(0).sqrt()
    found = {
        "plain ridge, centred": top1(centred(preds, true)),
        "plain ridge, centred and CSLS": top1(similarity(preds, true, plain)),
        "weighted by others' reliability": top1(centred(preds * weight, true * weight)),
    }
    decoded, targets = sources["the subject's own trials"]
    W = whitening(decoded - targets)
    known = fit_calibration(bank_preds @ W, scores[bank.images] @ W)
    found["plain ridge, whitened by its own errors, CSLS"] = top1(
        similarity(preds @ W, true @ W, known)
    )
    for name, (decoded, targets) in sources.items():
        pairs = Moments.about(torch.zeros(width), torch.zeros(width))
        pairs.add(targets, decoded)
        unit = float(pairs.xx.trace() / width)
        for alpha in (0.03, 0.1, 0.3, 1.0):
            forward_model = fit_forward_model(
                pairs, mean=torch.zeros(width), components=torch.eye(width), alpha=alpha * unit
            )
            gallery = forward_model(true)
            label = f"forward model of {name}, alpha {alpha:g}"
            found[label] = top1(centred(preds, gallery))
            bank_gallery = forward_model(scores[bank.images])
            calibration = fit_calibration(bank_preds, bank_gallery)
            found[f"{label}, CSLS"] = top1(similarity(preds, gallery, calibration))
            W = whitening(decoded - forward_model(targets))
            calibration = fit_calibration(bank_preds @ W, bank_gallery @ W)
            found[f"{label}, whitened, CSLS"] = top1(
                similarity(preds @ W, gallery @ W, calibration)
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--components", type=int, default=384)
    args = parser.parse_args()
    began = time.monotonic()
    prepared = open_prepared(args.source)
    subjects = prepared.subjects
    bank = load_targets(prepared, "lite0")
    tokens = bank[torch.arange(len(bank))].flatten(1)
    trials = {s: load_trials(prepared, s, ["train"]) for s in subjects}
    components, mean = pca_components(tokens[all_images(trials)], n_components=args.components)
    scores = (tokens - mean) @ components
    decoded = held_out(trials, scores)
    results = defaultdict(list)
    for subject in subjects:
        first = (trials[subject].sessions == 1).nonzero()[: args.trials, 0]
        new = trials[subject].rows(first)
        others = [decoded[s] for s in subjects if s != subject]
        sources = {
            "others": (torch.cat([m for m, _ in others]), torch.cat([t for _, t in others])),
            "the subject's own trials": own_held_out(new, scores, subject),
        }
        test = load_trials(prepared, subject, ["test"]).averaged()
        for name, value in score_subject(new, test, scores, sources=sources).items():
            results[name].append(value)
    means = {name: round(sum(v) / len(v), 4) for name, v in results.items()}
    for name, value in means.items():
        print(f"{value:.3f}  {name}")
    print(
        json.dumps(
            {
                "name": "gallery_map",
                "trials": args.trials,
                "subjects": len(subjects),
                "test_images": len(prepared.images_of("test")),
                "top1": means,
                "by_subject": {k: [round(x, 3) for x in v] for k, v in results.items()},
                "seconds": round(time.monotonic() - began),
                "machine": platform.machine(),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
