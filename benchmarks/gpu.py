"""Everything that waits for a GPU, in one run: numbers, steps, memory, generation, variants.

Run: python benchmarks/gpu.py [--only numbers steps ...] [--out results/gpu.json]
* numbers: a training step, samples of the prior and images of the shipped decoder, on the device
  against the CPU; relative differences.
* demo: every score of ``mindeye2 demo`` on the device against the CPU; wanted: 1e-3.
* steps: recipes at the published size with random weights, by precision, checkpointing,
  micro-batches and compilation: seconds, memory against ``mindeye2 plan``, and the utilisation for
  ``mindeye2 plan --utilisation``.
* arms: `bench_step.py`, the released arithmetic against ours.
* generation: `bench_generation.py`, the published pipeline with random weights.
What fails (no memory, no compiler) is recorded and the rest goes on. `--tiny --device cpu` runs
everything at tiny size anywhere. The last line is JSON.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import bench_generation
import bench_step
import pandas as pd
import torch
import yaml
from torch import Tensor

from mindeye2 import recipes
from mindeye2.core.runtime import generator, process_rng
from mindeye2.core.torchvision_operators import declare_torchvision_operators
from mindeye2.demo import demo
from mindeye2.generation.decoders import load_unclip_decoder
from mindeye2.planning.data_size import nsd_size
from mindeye2.planning.footprint import Footprint, footprint
from mindeye2.planning.plan import PASS_TRAFFIC, UPDATE_TRAFFIC
from mindeye2.planning.sample_step import StepSettings, random_batch
from mindeye2.stages.train import SharedTraining
from mindeye2.training.brain_step import BrainStep
from mindeye2.training.gpus import gpu_named
from mindeye2.training.trainer import Trainer

CPU = torch.device("cpu")

VARIANTS: dict[str, dict[str, object]] = {
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16, checkpointing": {"precision": "bfloat16", "checkpointing": True},
    "bfloat16, 2 micro-batches": {"precision": "bfloat16", "accumulate": 2},
    "bfloat16, compiled": {"precision": "bfloat16", "compile_blocks": True},
}
"""Changes of the optimiser's settings."""

TINY_DEMO = Path(__file__).with_name("tiny_demo.yaml")
"""Settings of the demo at tiny size, by dotted name."""


def step_of(settings: SharedTraining, n_voxels: dict[str, int]) -> StepSettings:
    """Return the step of a recipe."""
    return StepSettings(
        model=settings.model,
        losses=settings.losses,
        optimizer=settings.optimizer,
        n_voxels=n_voxels,
        per_subject=settings.per_subject,
    )


def tiny(step: StepSettings) -> StepSettings:
    """Return the same step with tiny sizes of the same classes."""
    prior = step.model.prior.model_copy(update={"depth": 1, "n_heads": 2, "head_width": 4})
    sizes = {"n_tokens": 16, "n_features": 24, "n_latent": 32, "n_blocks": 1, "prior": prior}
    return replace(
        step,
        model=step.model.model_copy(update=sizes),
        n_voxels=dict.fromkeys(list(step.n_voxels)[:2], 50),
        per_subject=2,
    )


def difference(ours: Tensor, reference: Tensor) -> float:
    """Return the root mean square difference, relative to the reference's."""
    ours, reference = ours.detach().double().cpu(), reference.detach().double().cpu()
    return float((ours - reference).norm() / reference.norm())


def numbers(options: argparse.Namespace) -> dict[str, Any]:
    """Compare the device with the CPU in float32, without TF32."""
    torch.set_float32_matmul_precision("highest")
    device = torch.device(options.device)
    step = step_of(recipes.laptop(), {"subj01": 800, "subj02": 900})
    step = tiny(step) if options.tiny else step
    step = replace(step, losses=step.losses.model_copy(update={"prior": 1.0}))
    entries, models = [], []
    for where in (CPU, device):
        with process_rng(0, "model"):
            model = step.build().eval()  # without dropout, which devices sample differently
        trainer = Trainer(
            BrainStep(model, step.losses), step.optimizer, device=where, seed=0, label="numbers"
        )
        random = generator(0, "batch")
        batch = random_batch(step, per_subject=step.per_subject, device=where, generator=random)
        entries.append([trainer(batch, number) for number in range(3)])
        models.append(model)
    found = {
        name: max(
            abs(there[name] - here[name]) / max(abs(here[name]), 1e-12)
            for here, there in zip(*entries, strict=True)
        )
        for name in entries[0][0]
    }
    models[1].load_state_dict(models[0].state_dict())
    n = 2 if options.tiny else 8
    shape = (n, step.model.n_tokens, step.model.n_features)
    condition = torch.randn(shape, generator=generator(0, "condition"))
    samples = [
        model.prior.sample(
            condition.to(where), steps=20, generator=[generator(i, "prior") for i in range(n)]
        )
        for model, where in zip(models, (CPU, device), strict=True)
    ]
    found["prior samples"] = difference(samples[1], samples[0])
    tokens = torch.randn(n, 49, 128, generator=generator(0, "tokens"))
    images = [
        load_unclip_decoder().to(where).decode(tokens.to(where), seeds=list(range(n)))
        for where in (CPU, device)
    ]
    found["unCLIP images"] = difference(images[1], images[0])
    return {"relative_differences": found, "within_1e-3": max(found.values()) < 1e-3}


def demo_scores(options: argparse.Namespace) -> dict[str, Any]:
    """Run the demo on the CPU and on the device; return the largest difference of scores."""
    tiny = yaml.safe_load(TINY_DEMO.read_text()) if options.tiny else {}
    changes = [f"{k}={v}" for k, v in tiny.items()]
    differences: dict[str, float] = {}
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, device in (("reference", "cpu"), ("device", options.device)):
            began = time.perf_counter()
            demo(Path(folder) / name, assignments=changes, device=device)
            seconds[name] = round(time.perf_counter() - began, 1)
        for arm in ("adapted", "scratch", "ridge"):
            reference, ours = (
                pd.read_parquet(Path(folder) / run / f"{arm}-scores" / "scores.parquet")
                for run in ("reference", "device")
            )
            columns = reference.select_dtypes("number").columns
            differences[arm] = float((ours[columns] - reference[columns]).abs().max().max())
    return {
        "largest_difference": differences,
        "within_1e-3": max(differences.values()) < 1e-3,
        "seconds": seconds,
    }


def steps(options: argparse.Namespace) -> dict[str, Any]:
    """Time steps of the published size, and compare their memory with the plan."""
    torch.set_float32_matmul_precision("high")  # TF32, as in training
    released, standard = recipes.released_training(), recipes.standard()
    small = released.model.model_copy(update={"n_latent": 1024})
    seven, one = nsd_size().n_voxels, {"subj01": 15_724}
    del seven["subj01"]
    wanted = {
        "released, 7 subjects": step_of(released, seven),
        "standard, 7 subjects": step_of(standard, seven),
        "released_adapt": step_of(recipes.released_adapt(), one),
        "released, n_latent 1024": replace(step_of(released, seven), model=small),
    }
    if options.tiny:
        wanted = {"standard, 7 subjects": wanted["standard, 7 subjects"]}
    found: dict[str, Any] = {}
    for recipe, whole in wanted.items():
        for variant, changes in VARIANTS.items():
            if options.tiny and "compiled" in variant:
                continue  # needs a compiler, and minutes
            step = tiny(whole) if options.tiny else whole
            step = replace(step, optimizer=step.optimizer.model_copy(update=changes))
            name = f"{recipe}: {variant}"
            found[name] = attempt(partial(measured_step, step, options))
            print(name, found[name], flush=True)
    return found


def measured_step(step: StepSettings, options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds, memory and utilisation of one step."""
    device = torch.device(options.device)
    planned = footprint(step, gpu=device.type == "cuda")
    timed = bench_step.time_steps(step, steps=2 if options.tiny else 10, device=device, warm_up=2)
    seconds = float(pd.Series(timed["seconds"]).median())
    row = {
        "seconds": round(seconds, 4),
        "tflop": planned.flops / 1e12,
        "planned_gib": round(planned.peak / 2**30, 3),
    }
    if timed["peak_bytes"] is not None:
        row["measured_gib"] = round(timed["peak_bytes"] / 2**30, 3)
        row["planned_over_measured"] = round(planned.peak / timed["peak_bytes"], 3)
        name = torch.cuda.get_device_name(device)
        row |= utilisation(step, planned, seconds=seconds, name=name)
    return row


def utilisation(
    step: StepSettings, planned: Footprint, *, seconds: float, name: str
) -> dict[str, float]:
    """Return the fraction of the peak arithmetic: of the whole step, and as a plan counts it."""
    card, optimizer = gpu_named(name), step.optimizer
    if card is None:
        return {}
    peak = card.peak(optimizer.precision)
    traffic = UPDATE_TRAFFIC + PASS_TRAFFIC[optimizer.precision] * optimizer.accumulate
    moving = traffic * planned.trainable / (1e12 * card.bandwidth)
    return {
        "mfu": round(planned.flops / peak / seconds, 3),
        "utilisation": round(planned.flops / peak / max(seconds - moving, 1e-9), 3),
    }


def arms(options: argparse.Namespace) -> dict[str, Any]:
    """Compare the released arithmetic with ours, in both precisions."""
    found = {}
    for precision in ("bfloat16",) if options.tiny else ("float32", "bfloat16"):
        words = ["--device", options.device, "--precision", precision]
        if options.tiny:
            words += ["--latent", "32", "--tokens", "16", "--features", "52", "--voxels", "50"]
            words += ["--depth", "1", "--batch", "4", "--steps", "1", "--rounds", "1"]
        else:
            words += ["--latent", "4096", "--features", "1664", "--batch", "24", "--steps", "10"]
            words += ["--teachers"]
        chosen = bench_step.parser().parse_args(words)
        found[precision] = attempt(partial(bench_step.compare, chosen))
    return found


def generation(options: argparse.Namespace) -> dict[str, Any]:
    """Time the published pipeline, plain and with the optimisations of PyTorch and diffusers."""
    variants: dict[str, list[str]] = {"plain": []}
    if not options.tiny:
        variants |= {
            "fused, channels last": ["--fuse", "--channels-last"],
            "fused, channels last, compiled": ["--fuse", "--channels-last", "--compile"],
        }
    words = ["--device", options.device, "--repeats", "1" if options.tiny else "3"]
    words += ["--tiny", "--batch", "1"] if options.tiny else []
    found = {}
    for name, more in variants.items():
        chosen = bench_generation.parser().parse_args([*words, *more])
        found[name] = attempt(partial(bench_generation.time_parts, chosen))
    return found


SECTIONS: Mapping[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "numbers": numbers,
    "demo": demo_scores,
    "steps": steps,
    "arms": arms,
    "generation": generation,
}


def attempt(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `work` returns, or its error: one that fails does not stop the others."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - recorded
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"}
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def main() -> None:
    """Run the sections and print, or write, their JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--tiny", action="store_true", help="tiny sizes: checks the script")
    parser.add_argument("--out", type=Path, help="file for the JSON")
    options = parser.parse_args()
    cuda = torch.device(options.device).type == "cuda"
    if not (cuda or options.tiny):
        sys.exit("without a GPU this takes hours: add --tiny to check the script.")
    declare_torchvision_operators()
    found: dict[str, Any] = {
        "machine": torch.cuda.get_device_name() if cuda else platform.machine(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "tiny": options.tiny,
    }
    for name in options.only:
        began = time.perf_counter()
        section = attempt(partial(SECTIONS[name], options))
        found[name] = section
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
        if options.out:  # kept if a later section ends the process
            options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
