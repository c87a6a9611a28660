"""Measure what pretraining on other subjects adds to one session of a new subject, paired.

Run: python benchmarks/one_hour.py --out runs/one_hour
Each seed simulates another data set: scenes, subjects, noise and initialisation. All arms get the
same trials of the same new subject and are tested on the same images. Finished stages are not run
again. The last line is one JSON object; ``summary.json`` in the folder holds the same.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from mindeye2 import recipes
from mindeye2.core.runtime import available_cores, generator
from mindeye2.core.settings import load_settings
from mindeye2.metrics import bootstrap_interval, paired_difference
from mindeye2.stages.evaluate import EvaluateSettings, evaluate
from mindeye2.stages.prepare import prepare
from mindeye2.stages.reconstruct import ReconstructSettings, reconstruct
from mindeye2.stages.train import TrainSettings, train

METRICS = (
    "image_top1",
    "image_top1_no_forward_model",
    "image_top1_raw",
    "brain_top1",
    "two_way_tokens",
)
REFERENCE = "adapted"


def arms(seed: int, n_trials: int | None) -> dict[str, tuple[TrainSettings, bool]]:
    """Return settings by arm, and whether the arm starts from the pretrained model."""
    few = [f"seed={seed}", "sessions=[1]"] + ([f"n_trials={n_trials}"] if n_trials else [])
    every = [f"seed={seed}", "sessions=null"]

    def make(recipe: Callable[[], TrainSettings], assignments: list[str]) -> TrainSettings:
        return load_settings(recipe(), assignments=assignments)

    found: dict[str, tuple[TrainSettings, bool]] = {
        "adapted": (make(recipes.adapt, few), True),
        "adapted, closed form": (make(recipes.adapt, [*few, "levels=[closed_form]"]), True),
        "adapted, ridge only": (
            make(recipes.adapt, [*few, "levels=[closed_form, ridge]", "margin=0"]),
            True,
        ),
        "scratch": (make(recipes.scratch, few), False),
        "scratch, closed-form start": (
            make(recipes.scratch, [*few, "closed_form_start=true"]),
            False,
        ),
        "ridge": (make(recipes.ridge, few), False),
    }
    if n_trials is None:
        found["all sessions, scratch"] = (make(recipes.scratch, every), False)
        found["all sessions, ridge"] = (make(recipes.ridge, every), False)
    return found


def run_seed(out: Path, seed: int, args: argparse.Namespace) -> dict[str, pd.DataFrame]:
    """Return the scores of every arm of one seed."""
    data, pretrained = out / "data", out / "pretrained"
    simulation = load_settings(
        recipes.demo_data(),
        assignments=[f"seed={seed}", f"n_test={args.test_images}", *args.simulation],
    )
    base = load_settings(
        recipes.demo(), assignments=[f"seed={seed}", "train_prior=false", *args.pretrain]
    )
    if not (data / "manifest.json").exists():
        prepare(simulation, out=data, resume=True)
    if not (pretrained / "manifest.json").exists():
        train(base, source=data, out=pretrained, recipe="demo", resume=True)
    scores = {}
    for name, (settings, from_pretrained) in arms(seed, args.trials).items():
        if args.arms and name not in (REFERENCE, *args.arms):
            continue
        folder = out / f"{name.replace(', ', '-').replace(' ', '_')}-{args.trials or 'session'}"
        init = pretrained if from_pretrained else None
        if not (folder / "run" / "manifest.json").exists():
            train(settings, source=data, out=folder / "run", init=init, resume=True)
        decoded, scored = folder / "decoded", folder / "scores"
        if not (decoded / "manifest.json").exists():
            chosen = ReconstructSettings(images=False, prior_steps=2, prior_samples=1)
            reconstruct(chosen, source=data, init=folder / "run", out=decoded, resume=True)
        if not (scored / "manifest.json").exists():
            evaluate(EvaluateSettings(), source=decoded, out=scored, resume=True)
        scores[name] = pd.read_parquet(folder / "scores" / "scores.parquet")
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/one_hour"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test-images", type=int, default=300)
    parser.add_argument("--trials", type=int, help="only the first trials of the session")
    parser.add_argument(
        "--arms", nargs="*", choices=[*arms(0, None)], help=f"only these, beside '{REFERENCE}'"
    )
    parser.add_argument(
        "--simulation", nargs="*", default=[], help="settings of the simulated data"
    )
    parser.add_argument("--pretrain", nargs="*", default=[], help="settings of the pretraining")
    args = parser.parse_args()
    began = time.monotonic()
    seeds = [run_seed(args.out / f"seed{s}", s, args) for s in range(args.seeds)]

    def table(arm: str, metric: str) -> torch.Tensor:
        return torch.stack([torch.tensor(s[arm][metric].to_numpy()).float() for s in seeds])

    summary: dict[str, object] = {"arms": {}, f"{REFERENCE} minus": {}}
    for arm in seeds[0]:
        rows, gaps = {}, {}
        for metric in METRICS:
            values = table(arm, metric)
            interval = bootstrap_interval(values, generator=generator(0, arm, metric))
            rows[metric] = {
                "mean": round(interval.mean, 4),
                "interval": [round(interval.low, 4), round(interval.high, 4)],
                "by_seed": [round(float(v), 4) for v in values.mean(dim=1)],
            }
            if arm != REFERENCE:
                gap = paired_difference(
                    table(REFERENCE, metric), values, generator=generator(1, arm, metric)
                )
                gaps[metric] = {
                    "mean": round(gap.mean, 4),
                    "interval": [round(gap.low, 4), round(gap.high, 4)],
                    "p": round(gap.p, 4),
                }
        summary["arms"][arm] = rows  # type: ignore[index]
        if gaps:
            summary[f"{REFERENCE} minus"][arm] = gaps  # type: ignore[index]
    summary |= {
        "name": "one_hour",
        "seeds": args.seeds,
        "test_images": args.test_images,
        "trials": args.trials or "one session",
        "simulation": args.simulation,
        "seconds": round(time.monotonic() - began),
        "machine": f"{platform.machine()}, {available_cores()} cores",
        "torch": torch.__version__,
    }
    name = f"summary-{args.trials or 'session'}.json"
    (args.out / name).write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
