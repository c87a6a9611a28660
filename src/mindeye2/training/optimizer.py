"""AdamW, its parameter groups and schedules, and how its steps are computed."""

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from mindeye2.core.settings import Settings

__all__ = ["MAY_CHANGE", "OptimizerSettings", "build_optimizer", "set_schedule"]


MAY_CHANGE = (
    "accumulate",
    "checkpointing",
    "compile_blocks",
    "sharding",
    "trackers",
    "save_minutes",
)
"""Settings that may change when a run is resumed: losses stay the same but for rounding."""


class OptimizerSettings(Settings):
    """AdamW, its learning rate, and how a step is computed."""

    steps: Annotated[int, Field(ge=1)] = 1000
    """Optimiser steps in all."""

    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    """One cycle: a cosine up and a cosine down. Constant: a straight line up, then the peak."""

    max_lr: Annotated[float, Field(gt=0)] = 3e-4
    """Peak learning rate."""

    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Fraction of the steps in which the learning rate rises."""

    start_factor: Annotated[float, Field(ge=1)] = 25.0
    """The first learning rate is `max_lr` divided by this."""

    end_factor: Annotated[float, Field(ge=1)] = 1000.0
    """The last learning rate of one cycle is the first divided by this."""

    cycle_momentum: bool = False
    """Move Adam's beta1 from .95 to .85 and back while one cycle goes up and down. Released: true,
    PyTorch's default."""

    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """Decoupled weight decay."""

    decayed: Literal["matrices", "released"] = "matrices"
    """Parameters with weight decay: matrices and kernels, or, as released, everything but biases,
    and the biases of ridges."""

    max_norm: Annotated[float, Field(gt=0)] | None = 1.0
    """Gradients are clipped to this L2 norm; null clips nothing, as released."""

    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the running average of the weights that is kept as the result; 0 keeps the last
    weights."""

    save_minutes: Annotated[float, Field(gt=0)] = 5.0
    """Minutes between two saved states."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of activations (autocast); weights, moments and losses stay float32. float32 is
    TF32 on CUDA; float16 scales the loss, and skips steps whose gradients overflow."""

    accumulate: Annotated[int, Field(ge=1)] = 1
    """Micro-batches of the rows of a process, computed one after the other. Losses and
    gradients stay those of the whole batch: contrastive losses compare all of its rows, for
    which the model is computed twice."""

    checkpointing: bool = False
    """Compute activations of every block again in the backward pass: less memory, more time."""

    compile_blocks: bool = False
    """Compile every block by `torch.compile`."""

    sharding: Literal["none", "fsdp"] = "none"
    """Of several processes: each holds the whole model (DDP), or a shard of its weights, gradients
    and moments (FSDP2)."""

    trackers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] | None = None
    """Trackers that get the numbers of every step; null is TensorBoard where it is installed."""


def build_optimizer(
    trainable: dict[str, nn.Parameter], settings: OptimizerSettings
) -> torch.optim.AdamW:
    """Build AdamW with a group of decayed parameters and one of the others."""

    def is_decayed(name: str, parameter: nn.Parameter) -> bool:
        if settings.decayed == "matrices":
            return parameter.ndim >= 2
        return "ridge." in name or "bias" not in name

    decayed = [p for name, p in trainable.items() if is_decayed(name, p)]
    others = [p for name, p in trainable.items() if not is_decayed(name, p)]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.max_lr, fused=True)


def _cycle(
    step: int, settings: OptimizerSettings, *, start: float, peak_value: float, end: float
) -> float:
    """Return half a cosine from `start` to `peak_value`, then one to `end`."""
    peak = settings.warmup * settings.steps - 1
    if step <= peak:
        first, last, done = start, peak_value, step / peak if peak > 0 else 1.0
    else:
        first, last = peak_value, end
        done = (step - peak) / max(1e-9, settings.steps - 1 - peak)
    return last + (first - last) * (1 + math.cos(math.pi * min(1.0, done))) / 2


def learning_rate(step: int, settings: OptimizerSettings) -> float:
    """Return the learning rate of one step, from 0.

    One cycle is the schedule of PyTorch's ``OneCycleLR`` (Smith & Topin 2017, arXiv:1708.07120),
    as a function of the step alone.
    """
    start = settings.max_lr / settings.start_factor
    if settings.schedule == "one_cycle":
        end = start / settings.end_factor
        return _cycle(step, settings, start=start, peak_value=settings.max_lr, end=end)
    done = min(1.0, step / max(1.0, settings.warmup * settings.steps))
    return start + done * (settings.max_lr - start)


def beta1_at(step: int, settings: OptimizerSettings) -> float:
    """Return Adam's first momentum of one step, from 0."""
    if not settings.cycle_momentum:
        return 0.9
    return _cycle(step, settings, start=0.95, peak_value=0.85, end=0.95)


def set_schedule(
    optimizer: torch.optim.Optimizer, step: int, settings: OptimizerSettings
) -> float:
    """Set learning rate and momentum of one step; return the learning rate."""
    rate = learning_rate(step, settings)
    for group in optimizer.param_groups:
        group["lr"], group["betas"] = rate, (beta1_at(step, settings), 0.999)
    return rate
