"""Measure two choices of `standard` at laptop size: summed condition and closed-form start.

Run: python benchmarks/prior_and_start.py --out runs/prior_and_start
Each seed simulates another data set; all arms of a seed get the same trials of its seven subjects,
batches and noise. Scores are of averaged validation trials. The prior is trained end to end, with
the losses of `standard`, and after the rest, as in the demo. Its condition is summed with the
noised tokens or joined to the sequence, as released. Both starts are trained with several numbers
of steps and learning rates; the best score of a random start is what the closed form must reach.
Finished runs are not run again. The last line is one JSON object; ``summary.json`` holds the same.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F

from mindeye2 import recipes
from mindeye2.core.runtime import available_cores, generator, process_rng
from mindeye2.core.settings import load_settings
from mindeye2.data.prepared import open_prepared
from mindeye2.metrics import bootstrap_interval, paired_difference, two_way_identification
from mindeye2.models.checkpoint import load_run
from mindeye2.models.decoder import MindEye, build_mindeye
from mindeye2.stages.prepare import prepare
from mindeye2.stages.reconstruct import ReconstructSettings
from mindeye2.stages.reconstruct.inference import sample_prior
from mindeye2.stages.train import SharedTraining, train
from mindeye2.stages.train.closed_form_start import start_closed_form
from mindeye2.stages.train.scores import identification
from mindeye2.stages.train.training_targets import open_targets
from mindeye2.training.trials import SubjectTrials, load_targets, load_trials

SCORES = {"reciprocal_rank": 1, "two_way": 1, "mse": -1}
"""Validation scores of backbone tokens by name; 1 where more is better."""

Curves = dict[str, list[dict[str, float]]]

JOINED = "model.prior.condition_in_sequence=true"


def settings_of(order: str, seed: int, *assignments: str) -> SharedTraining:
    """Return the demo's pretraining, or the same with the losses and learning rate of `standard`.

    Teacher's feature maps are left out: the laptop's low-level head predicts none.
    """
    base = recipes.demo()
    if order == "end to end":
        losses = recipes.standard().losses.model_copy(update={"maps": 0.0})
        rate = {"max_lr": recipes.standard().optimizer.max_lr}
        optimizer = base.optimizer.model_copy(update=rate)
        base = base.model_copy(update={"losses": losses, "optimizer": optimizer})
    return load_settings(
        base, assignments=[f"seed={seed}", "validate_every=10", "n_bank=50", *assignments]
    )


def arms(args: argparse.Namespace, seed: int) -> dict[str, SharedTraining]:
    """Return the settings of every training run of a seed."""
    found = {}
    for order, steps in (("end to end", [f"optimizer.steps={args.steps}"]), ("afterwards", [])):
        both = [*steps, *args.training]
        found[f"{order}, summed"] = settings_of(order, seed, *both)
        found[f"{order}, joined"] = settings_of(order, seed, *both, JOINED)
    starts = (
        ("end to end", "random", args.random_end_to_end),
        ("afterwards", "random", args.random),
        ("afterwards", "closed-form", args.closed_form),
    )
    for order, start, runs in starts:
        for steps, rate in (run.split("@") for run in runs):
            found[f"{order}, {start} start, {steps} steps at {rate}"] = settings_of(
                order,
                seed,
                *args.training,
                f"closed_form_start={start != 'random'}",
                "train_prior=false",
                f"optimizer.steps={steps}",
                f"optimizer.max_lr={rate}",
            )
    return found


def validation_trials(data: Path, settings: SharedTraining) -> dict[str, SubjectTrials]:
    prepared = open_prepared(data)
    subjects = settings.subjects or tuple(prepared.subjects)
    return {s: load_trials(prepared, s, ["validation"]).averaged() for s in subjects}


@torch.no_grad()
def score_prior(
    model: MindEye, held_out: dict[str, SubjectTrials], *, data: Path, seed: int
) -> pd.DataFrame:
    """Return the prior's scores by validation image, averaged over the subjects that saw it.

    ``denoising`` is the error that training minimises, at ten noise levels with fixed noise, and
    ``condition`` the error of the prior's condition itself; ``two_way`` and ``cosine`` are of
    tokens sampled as `reconstruct` samples them.
    """
    tokens = load_targets(open_prepared(data), "lite0")
    rows = []
    for subject, own in held_out.items():
        true = tokens[own.images]
        condition = model(own.betas[:], subject=subject).backbone_tokens
        noise = torch.randn(true.shape, generator=generator(seed, "noise", subject))
        errors = []
        for level in range(5, model.prior.n_levels, 10):
            times = torch.full((len(true),), level)
            noised = model.prior.add_noise(true, times, noise)
            errors.append(model.prior.predict(noised, times, condition).sub(true).square())
        samples = sample_prior(
            model, condition, seeds=own.images.tolist(), settings=ReconstructSettings()
        )
        columns = {
            "image": own.images,
            "denoising": torch.stack(errors).mean(dim=(0, 2, 3)),
            "condition": condition.sub(true).square().mean(dim=(1, 2)),
            "two_way": two_way_identification(samples.flatten(1), true.flatten(1)),
            "cosine": F.cosine_similarity(samples.flatten(1), true.flatten(1)),
        }
        rows.append(pd.DataFrame({name: v.numpy() for name, v in columns.items()}))
    return pd.concat(rows).groupby("image").mean()


def closed_form_alone(
    data: Path, settings: SharedTraining, held_out: dict[str, SubjectTrials]
) -> dict[str, float]:
    """Return validation scores of the closed-form start before any step, and its seconds."""
    prepared = open_prepared(data)
    targets = open_targets(
        settings.targets, prepared=prepared, sizes=settings.model, losses=settings.losses
    )
    trials = {s: load_trials(prepared, s, ["train"]) for s in held_out}
    with process_rng(settings.seed, "model"):
        model = build_mindeye(settings.model, {s: prepared.n_voxels[s] for s in held_out})
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        start_closed_form(
            model,
            trials,
            tokens=targets.tokens,
            latents=targets.latents,
            seed=settings.seed,
            folder=Path(folder) / "start",
        )
    seconds = time.monotonic() - began
    device = torch.device("cpu")
    scores = identification(model.eval(), held_out, tokens=targets.tokens, device=device)
    return {**scores, "seconds": seconds}


def run_seed(out: Path, seed: int, args: argparse.Namespace) -> dict[str, object]:
    """Train all arms of one seed; return scores of priors and validation curves by arm."""
    data = out / "data"
    if not (data / "manifest.json").exists():
        assignments = [f"seed={seed}", *args.simulation]
        prepare(load_settings(recipes.demo_data(), assignments=assignments), out=data, resume=True)
    found = arms(args, seed)
    settings = found["end to end, summed"]
    held_out = validation_trials(data, settings)
    priors, curves, seconds = {}, {}, {}
    for name, chosen in found.items():
        folder = out / name.replace(", ", "-").replace(" ", "_")
        if not (folder / "manifest.json").exists():
            train(chosen, source=data, out=folder, resume=True, device="cpu")
        steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
        curves[name] = [
            {"step": s["step"] + 1, **{k: s[f"validation_{k}"] for k in SCORES}}
            for s in steps
            if "validation_mse" in s
        ]
        seconds[name] = statistics.median(s["seconds"] for s in steps)
        if chosen.train_prior:
            scored = folder / "prior_scores.parquet"
            if not scored.exists():
                model = load_run(folder).model
                score_prior(model, held_out, data=data, seed=seed).to_parquet(scored)
            priors[name] = pd.read_parquet(scored)
    start = closed_form_alone(data, settings, held_out)
    return {"priors": priors, "curves": curves, "start": start, "seconds_a_step": seconds}


def compare_priors(seeds: list[dict[str, pd.DataFrame]]) -> dict[str, object]:
    """Return means with intervals over seeds and images, and paired differences."""
    n_images = min(len(scores) for seed in seeds for scores in seed.values())

    def table(arm: str, metric: str) -> torch.Tensor:
        return torch.stack([torch.tensor(s[arm][metric].to_numpy()[:n_images]) for s in seeds])

    found: dict[str, object] = {"validation_images": n_images}
    for order in ("end to end", "afterwards"):
        for metric in seeds[0][f"{order}, summed"].columns:
            values = {a: table(f"{order}, {a}", metric) for a in ("summed", "joined")}
            row: dict[str, object] = {}
            for arm, value in values.items():
                interval = bootstrap_interval(value, generator=generator(0, order, arm, metric))
                row[arm] = {
                    "mean": round(interval.mean, 5),
                    "interval": [round(interval.low, 5), round(interval.high, 5)],
                    "by_seed": [round(float(v), 5) for v in value.mean(dim=1)],
                }
            gap = paired_difference(
                values["summed"], values["joined"], generator=generator(1, order, metric)
            )
            row["summed minus joined"] = {
                "mean": round(gap.mean, 5),
                "interval": [round(gap.low, 5), round(gap.high, 5)],
                "p": round(gap.p, 4),
            }
            found[f"{order}, {metric}"] = row
    return found


def _best(curves: Curves, score: str) -> tuple[str, dict[str, float]]:
    """Return the run with the best score of all, and its step."""
    rows = [(SCORES[score] * row[score], name, row) for name, c in curves.items() for row in c]
    _, name, row = max(rows, key=lambda r: r[0])
    return name, row


def _first(curves: Curves, score: str, target: float) -> int | None:
    """Return the smallest number of steps after which a run is at least as good as `target`."""
    rows = [row for c in curves.values() for row in c]
    reached = [r["step"] for r in rows if SCORES[score] * (r[score] - target) >= 0]
    return int(min(reached)) if reached else None


def compare_starts(seed: dict[str, object]) -> dict[str, object]:
    """Return, for every score, the best of each start, and the steps of one to the other's."""
    curves, start = seed["curves"], seed["start"]
    assert isinstance(curves, dict)
    assert isinstance(start, dict)
    found: dict[str, object] = {}
    for order in ("end to end", "afterwards"):
        own = {n: c for n, c in curves.items() if n.startswith(order) and "joined" not in n}
        randoms = {n: c for n, c in own.items() if "random" in n}
        closed = {n: [{"step": 0, **start}, *c] for n, c in own.items() if n not in randoms}
        for score in SCORES:
            random_name, random = _best(randoms, score)
            closed_name, best = _best(closed, score)
            found[f"{order}, {score}"] = {
                "closed_form_at_0": round(start[score], 5),
                "closed_form_best": round(best[score], 5),
                "closed_form_best_run": f"{closed_name}: step {best['step']}",
                "closed_form_ends": {n: round(c[-1][score], 5) for n, c in closed.items()},
                "random_best": round(random[score], 5),
                "random_best_run": random_name,
                "random_ends": {n: round(c[-1][score], 5) for n, c in randoms.items()},
                "random_steps_to_closed_form_at_0": _first(randoms, score, start[score]),
                "random_steps": random["step"],
                "closed_form_steps": _first(closed, score, random[score]),
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/prior_and_start"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200, help="of training end to end")
    starts = "runs of a start, each STEPS@LEARNING_RATE"
    parser.add_argument("--random", nargs="*", default=["600@2e-4", "600@1e-3"], help=starts)
    parser.add_argument("--random-end-to-end", nargs="*", default=["600@3e-4"], help=starts)
    parser.add_argument("--closed-form", nargs="*", default=["600@1e-3"], help=starts)
    parser.add_argument("--simulation", nargs="*", default=[], help="settings of the data")
    parser.add_argument("--training", nargs="*", default=[], help="settings of every training")
    args = parser.parse_args()
    began = time.monotonic()
    seeds = [run_seed(args.out / f"seed{s}", s, args) for s in range(args.seeds)]
    summary = {
        "name": "prior_and_start",
        "seeds": args.seeds,
        "steps": args.steps,
        "simulation": args.simulation,
        "prior": compare_priors([s["priors"] for s in seeds]),  # type: ignore[misc]
        "start": [compare_starts(s) for s in seeds],
        "seconds_of_closed_form_start": [round(s["start"]["seconds"], 2) for s in seeds],  # type: ignore[index]
        "seconds_a_step": [s["seconds_a_step"] for s in seeds],
        "seconds": round(time.monotonic() - began),
        "machine": f"{platform.machine()}, {available_cores()} cores",
        "torch": torch.__version__,
    }
    (args.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
