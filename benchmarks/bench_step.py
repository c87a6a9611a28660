"""Time a training step: the released arithmetic against ours, each change alone and together.

Run: python benchmarks/bench_step.py [--small] [--device cuda] [--precision bfloat16] ...
Every arm is the same recipe (`released`: prior end to end, contrastive, low-level and feature-map
losses) on the same random batch, with one change of the model. Arms run in turn, `--rounds` times
over, each with one step to warm up. On a CPU seconds are those that the process computed (user and
system), which other work on the machine changes little; on a GPU they are wall time. Medians; the
last line is JSON. Data are not part of a step, and targets are stored; `--teachers` also times the
frozen networks that the published training computes in every step: OpenCLIP bigG, ConvNeXt-XL on
the images and on augmented ones, Stable Diffusion's VAE, of published size with random weights.
"""

import argparse
import gc
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mindeye2 import recipes
from mindeye2.core.runtime import generator, peak_memory_gib, process_rng
from mindeye2.core.torchvision_operators import declare_torchvision_operators
from mindeye2.encoders.clip import ClipTokens
from mindeye2.encoders.convnext import build_convnext_teacher
from mindeye2.encoders.sd_vae import SdLatents, VaeSettings, build_vae
from mindeye2.models.model_settings import ModelSettings
from mindeye2.planning.sample_step import StepSettings, random_batch
from mindeye2.training.brain_step import BrainStep
from mindeye2.training.trainer import Trainer

ARMS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "released": ({}, {}),
    "fused kernels": ({}, {"fused_kernels": True}),
    "summed condition": ({}, {"condition_in_sequence": False}),
    "residual trunk": ({"trunk": "residual"}, {}),
    "all": ({"trunk": "residual"}, {"fused_kernels": True, "condition_in_sequence": False}),
}
"""Changes of the model and of its prior, by arm."""

SMALL = {"latent": 256, "tokens": 64, "features": 208, "voxels": 2000, "depth": 3, "batch": 8}


def arm_settings(name: str, options: argparse.Namespace) -> StepSettings:
    """Return the step of one arm."""
    base = recipes.released_training()
    of_model, of_prior = ARMS[name]
    heads = {"n_heads": max(1, options.features // 52), "depth": options.depth}
    sizes = {
        "n_latent": options.latent,
        "n_tokens": options.tokens,
        "n_features": options.features,
        "prior": base.model.prior.model_copy(update={**heads, **of_prior}),
    }
    model: ModelSettings = base.model.model_copy(update={**sizes, **of_model})
    how = {
        "precision": options.precision,
        "checkpointing": options.checkpointing,
        "compile_blocks": options.compile,
    }
    return StepSettings(
        model=model,
        losses=base.losses,
        optimizer=base.optimizer.model_copy(update=how),
        n_voxels={"subj01": options.voxels},
        per_subject=options.batch,
    )


def read_clock(device: torch.device) -> float:
    """Return seconds computed by this process on a CPU, of the wall on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def time_steps(
    settings: StepSettings, *, steps: int, device: torch.device, warm_up: int = 1
) -> dict[str, Any]:
    """Take steps on a random batch; return the seconds of each, and the memory of the device."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    with process_rng(0, "model"), torch.device(device):
        model = settings.build()
    trainer = Trainer(
        BrainStep(model, settings.losses), settings.optimizer, device=device, seed=0, label="step"
    )
    batch = random_batch(
        settings, per_subject=settings.per_subject, device=device, generator=generator(0, "batch")
    )
    seconds, scalars = [], {}
    for step in range(warm_up + steps):
        began = read_clock(device)
        scalars = trainer(batch, step)
        seconds.append(read_clock(device) - began)
    peak = torch.cuda.max_memory_allocated(device) if cuda else None
    del trainer, model, batch
    gc.collect()
    if cuda:
        torch.cuda.empty_cache()
    return {"seconds": seconds[warm_up:], "peak_bytes": peak, "loss": scalars["loss"]}


def time_teachers(
    options: argparse.Namespace, *, device: torch.device, warm_up: int = 1
) -> dict[str, float]:
    """Time the teachers on one batch of images, one network after the other in memory."""
    declare_torchvision_operators()
    from open_clip.transformer import VisionTransformer

    published = {"image_size": 224, "patch_size": 14, "width": 1664, "layers": 48, "heads": 16}
    small = {"image_size": 224, "patch_size": 56, "width": 64, "layers": 2, "heads": 4}
    tower = {**(small if options.small else published), "output_dim": 1280, "output_tokens": True}
    sizes = {"depths": (3, 3, 27, 3), "widths": (256, 512, 1024, 2048), "projector": (512,) * 3}
    if options.small:
        sizes = {"depths": (1, 1, 1, 1), "widths": (8, 16, 32, 64), "projector": (512,) * 3}
    vae = VaeSettings(widths=(32, 32, 32, 32)) if options.small else VaeSettings()
    builders: dict[str, tuple[Callable[[], nn.Module], int]] = {
        "bigG": (
            lambda: ClipTokens(VisionTransformer(mlp_ratio=4.9231, **tower), weights_key="random"),
            1,
        ),
        "ConvNeXt, twice": (lambda: build_convnext_teacher(**sizes), 2),
        "VAE": (lambda: SdLatents(build_vae(vae)), 1),
    }
    images = torch.rand(options.batch, 3, 224, 224, generator=generator(0, "images")).to(device)
    dtype = None if options.precision == "float32" else getattr(torch, options.precision)
    found = {}
    for name, (build, calls) in builders.items():
        with torch.device(device):
            network = build().eval()
        seconds = []
        for _ in range(warm_up + options.steps):
            began = read_clock(device)
            half = torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
            with torch.inference_mode(), half:
                network(images)
            seconds.append(read_clock(device) - began)
        found[name] = round(calls * statistics.median(seconds[warm_up:]), 4)
        del network
        gc.collect()
    return found


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Time all arms in turn."""
    device = torch.device(options.device)
    if options.small:
        options = argparse.Namespace(**{**vars(options), **SMALL})
    seconds: dict[str, list[float]] = {name: [] for name in ARMS}
    for _ in range(options.rounds):
        for name in ARMS:
            settings = arm_settings(name, options)
            seconds[name] += time_steps(settings, steps=options.steps, device=device)["seconds"]
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows = {
        name: {
            "seconds": round(medians[name], 4),
            "fastest": round(min(values), 4),
            "slowest": round(max(values), 4),
            "speed": round(medians["released"] / medians[name], 2),
        }
        for name, values in seconds.items()
    }
    teachers = time_teachers(options, device=device) if options.teachers else {}
    if teachers:
        online = medians["released"] + sum(teachers.values())
        rows["released, teachers online"] = {"seconds": round(online, 4)}
        for row in rows.values():
            row["speed_online"] = round(online / row["seconds"], 2)
    cuda = device.type == "cuda"
    return {
        "teachers": teachers,
        "options": vars(options),
        "machine": torch.cuda.get_device_name(device) if cuda else platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds_are": "wall" if cuda else "user and system time of the process",
        "process_peak_gib": round(peak_memory_gib(), 2),
        "arms": rows,
    }


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    made.add_argument("--small", action="store_true", help="laptop size, seconds a step")
    made.add_argument("--latent", type=int, default=1024)
    made.add_argument("--tokens", type=int, default=256)
    made.add_argument("--features", type=int, default=832, help="width of a token, even")
    made.add_argument("--voxels", type=int, default=15_724)
    made.add_argument("--depth", type=int, default=6, help="layers of the prior")
    made.add_argument("--batch", type=int, default=8)
    made.add_argument("--steps", type=int, default=3, help="timed steps of an arm in a round")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--precision", choices=["float32", "bfloat16", "float16"], default="float32")
    made.add_argument("--checkpointing", action="store_true")
    made.add_argument("--compile", action="store_true")
    made.add_argument("--teachers", action="store_true", help="time the frozen networks as well")
    return made


def main() -> None:
    """Print a row an arm, then JSON."""
    found = compare(parser().parse_args())
    for name, row in found["arms"].items():
        faster = {"speed": "released", "speed_online": "released, teachers online"}
        than = [f"{row[key]:.2f} times {arm}" for key, arm in faster.items() if key in row]
        print(f"{name:25s} {row['seconds']:8.3f} s a step, {'; '.join(than)}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
