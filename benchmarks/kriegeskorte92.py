"""Shared-subject training on real brains: four people, two sessions each, 92 photographs.

Run: python benchmarks/kriegeskorte92.py --source ../shared/data/kriegeskorte92.npz
Every fold is prepared and trained by the commands' own functions; finished folds are not run
again. A second part asks, in closed form, what other people give a new person with few pictures.
The last line is one JSON object; ``summary.json`` in the folder holds the same.
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
from mindeye2.data.prepared import Prepared, open_prepared
from mindeye2.metrics import bootstrap_interval, paired_difference, two_way_identification
from mindeye2.models.checkpoint import load_run
from mindeye2.models.closed_form import choose_alpha, fit_ridge, image_folds, pca_components
from mindeye2.models.forward_model import fit_forward_model
from mindeye2.stages.prepare import prepare
from mindeye2.stages.train import train
from mindeye2.training.trials import SubjectTrials, load_targets, load_trials

COUNTS = (12, 25, 45, 69)
ALPHAS = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)


def two_way(
    predicted: Float[Tensor, "images features"],
    true: Float[Tensor, "images features"],
    *,
    means: tuple[Tensor, Tensor] | None = None,
) -> Float[Tensor, " images"]:
    """Score each held-out image; the means removed are the held-out images' own by default."""
    of_predicted, of_true = means or (predicted.mean(dim=0), true.mean(dim=0))
    return two_way_identification(predicted - of_predicted, true - of_true)


@dataclass(frozen=True)
class Person:
    """One session of one person in one fold."""

    fitted: SubjectTrials
    test: SubjectTrials


@dataclass(frozen=True)
class Fold:
    """One fold in memory."""

    data: Prepared
    people: dict[str, Person]
    tokens: Float[Tensor, "images features"]


def open_fold(folder: Path, splits: tuple[str, ...]) -> Fold:
    """Open a prepared fold; `splits` are those that are fitted."""
    data = open_prepared(folder)
    people = {
        s: Person(fitted=load_trials(data, s, splits), test=load_trials(data, s, ["test"]))
        for s in data.subjects
    }
    bank = load_targets(data, "lite0")
    return Fold(data=data, people=people, tokens=bank[torch.arange(len(bank))].flatten(1))


def kernel_ridge(
    own: SubjectTrials, targets: Float[Tensor, "images features"], *, seed: int, subject: str
) -> Callable[[Tensor], Tensor]:
    """Fit the strongest plain baseline: alpha by identification within the training images."""
    true = targets[own.images]
    alpha, _ = choose_alpha(
        own.betas,
        true,
        own.images,
        generator=generator(seed, "folds", subject),
        alphas=ALPHAS,
    )
    ridge = fit_ridge(own.betas, true)
    return lambda betas: ridge.predict(betas, alpha)


# --- The shared model against kernel ridge -----------------------------------------------------


def run_fold(fold: int, args: argparse.Namespace) -> dict[str, dict[str, Tensor]]:
    """Return scores by method and subject, one per held-out image."""
    place: Path = args.out / f"seed{args.seed}-fold{fold}"
    data, run = place / "data", place / "run"
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
    for subject, person in same.people.items():
        true = same.tokens[person.test.images]
        mean = same.tokens[person.fitted.images].mean(dim=0)
        ridge = kernel_ridge(person.fitted, same.tokens, seed=args.seed, subject=subject)
        predicted = ridge(person.test.betas)
        scores["ridge"][subject] = two_way(predicted, true)
        scores["ridge, training mean"][subject] = two_way(predicted, true, means=(mean, mean))
        larger = kernel_ridge(
            more.people[subject].fitted, same.tokens, seed=args.seed, subject=subject
        )
        scores["ridge, validation images too"][subject] = two_way(larger(person.test.betas), true)
        with torch.no_grad():
            out = model(person.test.betas, subject=subject)
            fitted = model(person.fitted.betas, subject=subject).backbone_tokens.flatten(1)
        backbone = out.backbone_tokens.flatten(1)
        scores["shared model"][subject] = two_way(backbone, true)
        scores["shared model, training mean"][subject] = two_way(
            backbone, true, means=(fitted.mean(dim=0), mean)
        )
        scores["shared model, retrieval tokens"][subject] = two_way(
            out.retrieval_tokens.flatten(1), true
        )
        scores["permuted images"][subject] = permuted(
            person, same.tokens, seed=args.seed, subject=subject, n_draws=args.permutations
        )
    return dict(scores)


def permuted(
    person: Person,
    tokens: Float[Tensor, "images features"],
    *,
    seed: int,
    subject: str,
    n_draws: int,
) -> Float[Tensor, " images"]:
    """Score kernel ridge fitted to responses whose images were exchanged."""
    own, draws = person.fitted, generator(seed, "permuted", subject)
    total = torch.zeros(len(person.test))
    for _ in range(n_draws):
        shuffled = own.images[torch.randperm(len(own), generator=draws)]
        wrong = SubjectTrials(betas=own.betas, images=shuffled, sessions=own.sessions)
        predicted = kernel_ridge(wrong, tokens, seed=seed, subject=subject)(person.test.betas)
        total += two_way(predicted, tokens[person.test.images]) / n_draws
    return total


# --- What other people give a new person -------------------------------------------------------


def held_out_predictions(
    own: SubjectTrials, tokens: Float[Tensor, "images features"], *, seed: int, subject: str
) -> Float[Tensor, "trials features"]:
    """Predict each training image from a ridge that was not fitted to it."""
    true = tokens[own.images]
    draws = generator(seed, "held-out", subject)
    alpha, _ = choose_alpha(own.betas, true, own.images, generator=draws, alphas=ALPHAS)
    predicted = torch.empty_like(true)
    for held in image_folds(own.images, n_folds=min(12, len(own)), generator=draws):
        kept = torch.ones(len(own), dtype=torch.bool)
        kept[held] = False
        ridge = fit_ridge(own.betas[kept], true[kept])
        predicted[held] = ridge.predict(own.betas[held], alpha)
    return predicted


def expected_tokens(
    predicted: Float[Tensor, "subjects images features"],
    shown: Int[Tensor, " images"],
    tokens: Float[Tensor, "images features"],
) -> Float[Tensor, "images features"]:
    """Return what decoding is expected to give for every image, learned from some people."""
    components, mean = pca_components(tokens[shown], n_components=len(shown) - 1)
    decoded = predicted.flatten(0, 1)
    true = tokens[shown].repeat(len(predicted), 1)
    unit = float(((true - mean) @ components).square().sum() / components.shape[1])
    forward_model = fit_forward_model(
        decoded, true, mean=mean, components=components, alpha=0.1 * unit
    )
    return forward_model(tokens[:, None])[:, 0]


def newcomers(fold: int, args: argparse.Namespace) -> dict[str, dict[int, dict[str, Tensor]]]:
    """Return scores by method, number of pictures and subject; none of it is trained by steps."""
    place = args.out / f"seed{args.seed}-fold{fold}" / "data"
    opened = open_fold(place, ("train", "validation"))
    # An exact rotation: 92 images span no more, and everything here is linear.
    centred = opened.tokens - opened.tokens.mean(dim=0)
    tokens = centred @ torch.linalg.svd(centred, full_matrices=False).Vh.T
    people = opened.people
    held_out = {
        s: held_out_predictions(p.fitted, tokens, seed=args.seed, subject=s)
        for s, p in people.items()
    }
    scores: dict[str, dict[int, dict[str, Tensor]]] = defaultdict(lambda: defaultdict(dict))
    for subject, person in people.items():
        others = [s for s in people if s[:6] != subject[:6]]
        for count in COUNTS:
            for draw in range(args.draws):
                found = newcomer(
                    person,
                    tokens,
                    others={s: (people[s].fitted.images, held_out[s]) for s in others},
                    count=count,
                    draws=generator(args.seed, "newcomer", fold, subject, count, draw),
                )
                for method, score in found.items():
                    before = scores[method][count].get(subject, torch.zeros(()))
                    scores[method][count][subject] = before + score / args.draws
    return {method: dict(by_count) for method, by_count in scores.items()}


def newcomer(
    person: Person,
    tokens: Float[Tensor, "images features"],
    *,
    others: Mapping[str, tuple[Tensor, Tensor]],
    count: int,
    draws: torch.Generator,
) -> dict[str, Tensor]:
    """Score every method for one person, `count` pictures, and one draw of them."""
    rows = torch.randperm(len(person.fitted), generator=draws)[:count]
    own, test = person.fitted.rows(rows), person.test
    mine, true = tokens[own.images], tokens[test.images]
    shown, _ = next(iter(others.values()))  # in the same order for everybody
    predictions = torch.stack([p for _, p in others.values()])
    shuffled = torch.randperm(len(shown), generator=draws)
    new = ~torch.isin(shown, own.images)
    pictures = {
        "": (predictions, shown),
        ", only of pictures that are new": (predictions[:, new], shown[new]),
        ", shuffled": (predictions[:, shuffled], shown),
    }
    found: dict[str, Tensor] = {}
    for name, (predicted, images) in pictures.items():
        if len(images) < 12:
            continue
        expected = expected_tokens(predicted, images, tokens)
        arms = {f"anchors{name}": WEIGHTS, f"anchors{name}, half": (0.5,)}
        if not name:
            arms["own data"] = (0.0,)
        for arm, weights in arms.items():
            choice = choose_shrinkage(
                own.betas,
                own.images,
                true=mine,
                decoded=expected[own.images],
                generator=draws,
                weights=weights,
                alphas=ALPHAS,
            )
            blend = fit_shrinkage_targets(mine, expected[own.images], weight=choice.weight)
            ridge = fit_ridge(own.betas, blend(mine, expected[own.images]))
            found[arm] = two_way(
                ridge.predict(test.betas, choice.alpha), blend(true, expected[test.images])
            )
    return found


# --- Tables ------------------------------------------------------------------------------------


def stack(folds: list[dict[str, Tensor]]) -> Float[Tensor, "subjects images"]:
    """Lay folds side by side: every image is held out once."""
    return torch.cat([torch.stack(list(f.values())) for f in folds], dim=1)


def summarise(
    table: Float[Tensor, "subjects images"], reference: Float[Tensor, "subjects images"]
) -> dict[str, object]:
    """Average over people and sessions first: the interval is about other images."""
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
    parser.add_argument("--folds", type=int, default=4, help="the first so many of four folds")
    parser.add_argument("--seed", type=int, default=0, help="of folds, draws and training")
    parser.add_argument("--permutations", type=int, default=5)
    parser.add_argument("--draws", type=int, default=4, help="draws of a new person's pictures")
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
    new = [newcomers(f, args) for f in range(args.folds)]
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
        "new_person": few,
        "wall_s": round(time.monotonic() - began, 1),
        "machine": platform.machine(),
        "cores": available_cores(),
        "torch": torch.__version__,
    }
    (args.out / "summary.json").write_text(json.dumps(summary, indent=1))
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
