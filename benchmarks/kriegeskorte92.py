"""Measure shared-subject training on real responses: four subjects, two sessions each, 92 images.

Run: python benchmarks/kriegeskorte92.py --source ../shared/data/kriegeskorte92.npz
Each fold is prepared and trained by the functions of the commands; finished folds are not run
again. A second part measures, in closed form, what other subjects add to a new subject with few
images. The last line is one JSON object; ``summary.json`` in the folder holds the same.
"""

import argparse
import json
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from shrinkage_targets import WEIGHTS, choose_shrinkage, fit_shrinkage_targets
from torch import Tensor

from mindeye2 import recipes
from mindeye2.core.runtime import available_cores, generator
from mindeye2.core.settings import load_settings
from mindeye2.data.prepared import open_prepared
from mindeye2.metrics import bootstrap_interval, paired_difference, two_way_identification
from mindeye2.models.checkpoint import load_run
from mindeye2.models.closed_form import RidgeProblem, choose_alpha, fit_ridge, image_folds
from mindeye2.models.forward_model import fit_forward_model
from mindeye2.models.moments import Moments
from mindeye2.models.pca import pca_components
from mindeye2.stages.prepare import prepare
from mindeye2.stages.train import train
from mindeye2.training.trials import SubjectTrials, load_targets, load_trials

COUNTS = (12, 25, 45, 69)
ALPHAS = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)


def two_way(
    preds: Float[Tensor, "images features"],
    targets: Float[Tensor, "images features"],
    *,
    means: tuple[Tensor, Tensor] | None = None,
) -> Float[Tensor, " images"]:
    """Score each held-out image after subtracting `means`, by default of the held-out images."""
    preds_mean, targets_mean = means or (preds.mean(dim=0), targets.mean(dim=0))
    return two_way_identification(preds - preds_mean, targets - targets_mean)


@dataclass(frozen=True)
class SessionSplit:
    """One session of one subject in one fold."""

    fitted: SubjectTrials
    test: SubjectTrials


@dataclass(frozen=True)
class Fold:
    """One fold, opened."""

    sessions: dict[str, SessionSplit]
    tokens: Float[Tensor, "images features"]


def open_fold(folder: Path, splits: tuple[str, ...]) -> Fold:
    """Open a prepared fold; `splits` are those that are fitted."""
    data = open_prepared(folder)
    sessions = {
        s: SessionSplit(fitted=load_trials(data, s, splits), test=load_trials(data, s, ["test"]))
        for s in data.subjects
    }
    bank = load_targets(data, "lite0")
    return Fold(sessions=sessions, tokens=bank[torch.arange(len(bank))].flatten(1))


def kernel_ridge(
    own: SubjectTrials, targets: Float[Tensor, "images features"], *, seed: int, subject: str
) -> Callable[[Tensor], Tensor]:
    """Fit the strongest plain baseline: alpha by identification within the training images."""
    true = targets[own.images]
    alpha, _ = choose_alpha(
        RidgeProblem(own.betas, true),
        own.images,
        generator=generator(seed, "folds", subject),
        alphas=ALPHAS,
    )
    ridge = fit_ridge(own.betas, true)
    return lambda betas: ridge.predict(betas, alpha)


# --- The shared model against kernel ridge -----------------------------------------------------


def run_fold(fold: int, args: argparse.Namespace) -> dict[str, dict[str, Tensor]]:
    """Return scores by method and subject, one per held-out image."""
    folder: Path = args.out / f"seed{args.seed}-fold{fold}"
    data, run = folder / "data", folder / "run"
    chosen = load_settings(
        recipes.PREPARATION["kriegeskorte92"](),
        assignments=[f"kriegeskorte92.fold={fold}", f"kriegeskorte92.seed={args.seed}"],
    )
    if not (data / "manifest.json").exists():
        prepare(chosen, source=args.source, out=data, resume=True)
    settings = load_settings(
        recipes.TRAINING["kriegeskorte92"](), assignments=[f"seed={args.seed}", *args.set]
    )
    if not (run / "manifest.json").exists():
        train(settings, source=data, out=run, recipe="kriegeskorte92", resume=True)
    same, more = open_fold(data, ("train",)), open_fold(data, ("train", "validation"))
    scores: dict[str, dict[str, Tensor]] = defaultdict(dict)
    model = load_run(run).model.eval()
    for subject, session in same.sessions.items():
        true = same.tokens[session.test.images]
        mean = same.tokens[session.fitted.images].mean(dim=0)
        ridge = kernel_ridge(session.fitted, same.tokens, seed=args.seed, subject=subject)
        preds = ridge(session.test.betas[:])
        scores["ridge"][subject] = two_way(preds, true)
        scores["ridge, training mean"][subject] = two_way(preds, true, means=(mean, mean))
        larger = kernel_ridge(
            more.sessions[subject].fitted, same.tokens, seed=args.seed, subject=subject
        )
        scores["ridge, validation images too"][subject] = two_way(
            larger(session.test.betas[:]), true
        )
        with torch.no_grad():
            out = model(session.test.betas[:], subject=subject)
            fitted = model(session.fitted.betas[:], subject=subject).backbone_tokens.flatten(1)
        backbone = out.backbone_tokens.flatten(1)
        scores["shared model"][subject] = two_way(backbone, true)
        scores["shared model, training mean"][subject] = two_way(
            backbone, true, means=(fitted.mean(dim=0), mean)
        )
        scores["shared model, retrieval tokens"][subject] = two_way(
            out.retrieval_tokens.flatten(1), true
        )
        scores["permuted images"][subject] = permuted_scores(
            session, same.tokens, seed=args.seed, subject=subject, n_permutations=args.permutations
        )
    return dict(scores)


def permuted_scores(
    session: SessionSplit,
    tokens: Float[Tensor, "images features"],
    *,
    seed: int,
    subject: str,
    n_permutations: int,
) -> Float[Tensor, " images"]:
    """Score kernel ridge fitted to betas with permuted images."""
    own, permutations = session.fitted, generator(seed, "permuted", subject)
    total = torch.zeros(len(session.test))
    for _ in range(n_permutations):
        images = own.images[torch.randperm(len(own), generator=permutations)]
        permuted = SubjectTrials(betas=own.betas, images=images, sessions=own.sessions)
        preds = kernel_ridge(permuted, tokens, seed=seed, subject=subject)(session.test.betas[:])
        total += two_way(preds, tokens[session.test.images]) / n_permutations
    return total


# --- What other subjects add to a new subject --------------------------------------------------


def held_out_predictions(
    own: SubjectTrials, tokens: Float[Tensor, "images features"], *, seed: int, subject: str
) -> Float[Tensor, "trials features"]:
    """Predict each training image by a ridge that was not fitted to it."""
    true = tokens[own.images]
    folds = generator(seed, "held-out", subject)
    alpha, _ = choose_alpha(
        RidgeProblem(own.betas, true), own.images, generator=folds, alphas=ALPHAS
    )
    preds = torch.empty_like(true)
    for held_out in image_folds(own.images, n_folds=min(12, len(own)), generator=folds):
        fitted = torch.ones(len(own), dtype=torch.bool)
        fitted[held_out] = False
        ridge = fit_ridge(own.betas[fitted], true[fitted])
        preds[held_out] = ridge.predict(own.betas[held_out], alpha)
    return preds


def decoded_tokens(
    preds: Float[Tensor, "subjects images features"],
    shown: Int[Tensor, " images"],
    tokens: Float[Tensor, "images features"],
) -> Float[Tensor, "images features"]:
    """Predict decoded tokens of every image by a forward model of some subjects."""
    components, mean = pca_components(tokens[shown], n_components=len(shown) - 1)
    true = tokens[shown].repeat(len(preds), 1)
    zeros = torch.zeros(components.shape[1])
    scores = Moments.about(zeros, zeros)
    scores.add((true - mean) @ components, (preds.flatten(0, 1) - mean) @ components)
    unit = float(scores.xx.trace() / components.shape[1])
    forward_model = fit_forward_model(scores, mean=mean, components=components, alpha=0.1 * unit)
    return forward_model(tokens[:, None])[:, 0]


def score_new_subjects(
    fold: int, args: argparse.Namespace
) -> dict[str, dict[int, dict[str, Tensor]]]:
    """Return scores by method, number of images and subject; all fits are closed forms."""
    folder = args.out / f"seed{args.seed}-fold{fold}" / "data"
    opened = open_fold(folder, ("train", "validation"))
    # An exact rotation: 92 images span no more, and everything here is linear.
    centred = opened.tokens - opened.tokens.mean(dim=0)
    tokens = centred @ torch.linalg.svd(centred, full_matrices=False).Vh.T
    sessions = opened.sessions
    held_out = {
        s: held_out_predictions(split.fitted, tokens, seed=args.seed, subject=s)
        for s, split in sessions.items()
    }
    scores: dict[str, dict[int, dict[str, Tensor]]] = defaultdict(lambda: defaultdict(dict))
    for subject, session in sessions.items():
        others = [s for s in sessions if s[:6] != subject[:6]]
        for count in COUNTS:
            for sample in range(args.samples):
                found = score_new_subject(
                    session,
                    tokens,
                    others={s: (sessions[s].fitted.images, held_out[s]) for s in others},
                    count=count,
                    # The label "newcomer" is part of the seed of the recorded results.
                    rng=generator(args.seed, "newcomer", fold, subject, count, sample),
                )
                for method, score in found.items():
                    before = scores[method][count].get(subject, torch.zeros(()))
                    scores[method][count][subject] = before + score / args.samples
    return {method: dict(by_count) for method, by_count in scores.items()}


def score_new_subject(
    session: SessionSplit,
    tokens: Float[Tensor, "images features"],
    *,
    others: Mapping[str, tuple[Tensor, Tensor]],
    count: int,
    rng: torch.Generator,
) -> dict[str, Tensor]:
    """Score every method for one new subject and one random sample of `count` images."""
    rows = torch.randperm(len(session.fitted), generator=rng)[:count]
    own, test = session.fitted.rows(rows), session.test
    mine, true = tokens[own.images], tokens[test.images]
    shown, _ = next(iter(others.values()))  # the same order for all subjects
    preds = torch.stack([p for _, p in others.values()])
    shuffled = torch.randperm(len(shown), generator=rng)
    new = ~torch.isin(shown, own.images)
    fitted = {
        "": (preds, shown),
        ", others were shown other images": (preds[:, new], shown[new]),
        ", shuffled": (preds[:, shuffled], shown),
    }
    found: dict[str, Tensor] = {}
    for name, (others_preds, images) in fitted.items():
        if len(images) < 12:
            continue
        decoded = decoded_tokens(others_preds, images, tokens)
        arms = {f"shrinkage targets{name}": WEIGHTS, f"shrinkage targets{name}, half": (0.5,)}
        if not name:
            arms["own data"] = (0.0,)
        for arm, weights in arms.items():
            choice = choose_shrinkage(
                own.betas[:],
                own.images,
                true=mine,
                decoded=decoded[own.images],
                generator=rng,
                weights=weights,
                alphas=ALPHAS,
            )
            blend = fit_shrinkage_targets(mine, decoded[own.images], weight=choice.weight)
            ridge = fit_ridge(own.betas, blend(mine, decoded[own.images]))
            found[arm] = two_way(
                ridge.predict(test.betas[:], choice.alpha), blend(true, decoded[test.images])
            )
    return found


# --- Tables ------------------------------------------------------------------------------------


def stack(folds: list[dict[str, Tensor]]) -> Float[Tensor, "subjects images"]:
    """Concatenate folds along images: every image is held out once."""
    return torch.cat([torch.stack(list(f.values())) for f in folds], dim=1)


def summarise(
    table: Float[Tensor, "subjects images"], reference: Float[Tensor, "subjects images"]
) -> dict[str, object]:
    """Average over subjects and sessions, then bootstrap over images."""
    mean = bootstrap_interval(table.mean(dim=0), generator=generator(0, "interval"))
    gap = paired_difference(
        table.mean(dim=0), reference.mean(dim=0), generator=generator(0, "gap")
    )
    return {
        "two_way": round(mean.mean, 4),
        "interval": [round(mean.low, 4), round(mean.high, 4)],
        "by_subject": [round(float(v), 3) for v in table.mean(dim=1)],
        "minus_ridge": round(gap.mean, 4),
        "minus_ridge_interval": [round(gap.low, 4), round(gap.high, 4)],
        "subjects_above": int((table.mean(dim=1) > reference.mean(dim=1)).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/kriegeskorte92"))
    parser.add_argument("--folds", type=int, default=4, help="number of folds, of four")
    parser.add_argument("--seed", type=int, default=0, help="of folds, samples and training")
    parser.add_argument("--permutations", type=int, default=5)
    parser.add_argument("--samples", type=int, default=4, help="samples of a new subject's images")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the training")
    args = parser.parse_args()
    began = time.monotonic()
    folds = [run_fold(f, args) for f in range(args.folds)]
    shared = {}
    for method in folds[0]:
        reference = "ridge, training mean" if method.endswith("training mean") else "ridge"
        shared[method] = summarise(
            stack([f[method] for f in folds]), stack([f[reference] for f in folds])
        )
    new = [score_new_subjects(f, args) for f in range(args.folds)]
    few: dict[str, dict[int, object]] = defaultdict(dict)
    for method in new[0]:
        for count in new[0][method]:
            few[method][count] = summarise(
                stack([f[method][count] for f in new]),
                stack([f["own data"][count] for f in new]),
            )
    summary = {
        "name": "kriegeskorte92",
        "settings": {k: str(v) for k, v in vars(args).items()},
        "subjects": list(folds[0]["ridge"]),
        "shared_training": shared,
        "new_subject": few,
        "wall_s": round(time.monotonic() - began, 1),
        "machine": platform.machine(),
        "cores": available_cores(),
        "torch": torch.__version__,
    }
    (args.out / "summary.json").write_text(json.dumps(summary, indent=1))
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
