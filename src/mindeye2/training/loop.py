"""The training loop: one optimiser step a batch, resumable to the bit, for every model here.

What makes a killed run resume exactly is that a step is a pure function of the weights, the
optimiser's state and the step's number: batches, noise and dropout are all drawn from streams that
are named by ``(seed, step)``, so no sampler or generator has a position to restore.

Several processes take their shares of each batch and average their gradients; the first one alone
writes, all stop after the same step.
"""

import functools
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal, TextIO

import torch
from accelerate import Accelerator, DistributedType
from pydantic import Field
from torch import Tensor, nn

from mindeye2.core.errors import InterruptedRun
from mindeye2.core.processes import exchange, on_main, own_share
from mindeye2.core.runtime import process_rng
from mindeye2.core.settings import Settings
from mindeye2.training.state import TrainingState

__all__ = ["OptimizerSettings", "fit", "learning_rate", "one_cycle"]


class OptimizerSettings(Settings):
    """AdamW and its learning rate."""

    steps: Annotated[int, Field(ge=1)] = 1000
    """Optimiser steps in all."""

    schedule: Literal["one_cycle", "constant"] = "one_cycle"
    """One cycle: a cosine up and a cosine down. Constant: a straight line up, then the peak."""

    max_lr: Annotated[float, Field(gt=0)] = 3e-4
    """Peak learning rate."""

    warmup: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the steps that the learning rate rises."""

    start_factor: Annotated[float, Field(ge=1)] = 25.0
    """The first learning rate is `max_lr` divided by this."""

    end_factor: Annotated[float, Field(ge=1)] = 1000.0
    """The last learning rate of one cycle is the first divided by this."""

    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    """Decoupled decay of matrices and kernels; biases, norms and embeddings have none."""

    max_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are clipped to this L2 norm."""

    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the running average of the weights that is kept as the result; 0 keeps the last
    weights."""

    save_minutes: Annotated[float, Field(gt=0)] = 5.0
    """Minutes between two saved states."""


def one_cycle(step: int, settings: OptimizerSettings) -> float:
    """Return the learning rate of one step: a cosine up to the peak, a cosine down.

    The schedule of PyTorch's ``OneCycleLR`` (Smith & Topin 2017, arXiv:1708.07120), as a function
    of the step alone.

    Parameters
    ----------
    step
        From 0.
    settings
        The schedule.

    Returns
    -------
    float
        The learning rate.
    """
    start = settings.max_lr / settings.start_factor
    end = start / settings.end_factor
    peak = settings.warmup * settings.steps - 1
    if step <= peak:
        low, high, share = start, settings.max_lr, step / peak if peak > 0 else 1.0
    else:
        low, high = settings.max_lr, end
        share = (step - peak) / max(1e-9, settings.steps - 1 - peak)
    return high + (low - high) * (1 + math.cos(math.pi * min(1.0, share))) / 2


def learning_rate(step: int, settings: OptimizerSettings) -> float:
    """Return the learning rate of one step under the chosen schedule.

    Parameters
    ----------
    step
        From 0.
    settings
        The schedule.

    Returns
    -------
    float
        The learning rate.
    """
    if settings.schedule == "one_cycle":
        return one_cycle(step, settings)
    start = settings.max_lr / settings.start_factor
    share = min(1.0, step / max(1.0, settings.warmup * settings.steps))
    return start + share * (settings.max_lr - start)


Batch = dict[str, Any]


def fit(
    module: nn.Module,
    batch_of: Callable[[int], Batch],
    *,
    settings: OptimizerSettings,
    seed: int,
    folder: Path,
    device: torch.device,
    label: str = "training",
    validate: Callable[[], dict[str, float]] | None = None,
    validate_every: int = 0,
) -> None:
    """Train `module` in place, going on from `folder`'s saved state where there is one.

    Parameters
    ----------
    module
        Called with a batch's entries as keyword arguments; returns a dict of scalars, of which
        ``"loss"`` is minimised. Parameters that need no gradient stay as they are. With several
        processes the loss is the mean of theirs.
    batch_of
        The batch of one step, a pure function of the step's number; with several processes the
        share of this one (see `mindeye2.core.processes.Share`).
    settings
        Optimiser and schedule.
    seed
        Seeds what a module draws from the process's generator, i.e. dropout.
    folder
        Run folder: ``steps.jsonl`` gets a line a step, ``state/`` what a resumed run needs.
    device
        Where to train; with several processes from `mindeye2.core.processes.join_processes`.
    label
        What the progress bar says.
    validate
        Scores of the module as it is; called in eval mode.
    validate_every
        Steps between two validations; 0 validates at the end only.

    Raises
    ------
    FloatingPointError
        If a loss is not finite; nothing is updated by that step.
    InterruptedRun
        On Ctrl-C or SIGTERM in any process, after the state was saved.
    ArtifactError
        If the state cannot be written, does not belong to this module, or is not seen by all
        processes.
    ValueError
        If FSDP or DeepSpeed were asked for.
    """
    accelerator = _engine(device)
    module.to(device)
    trainable = {n: p for n, p in module.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(_groups(trainable, settings), lr=settings.max_lr, fused=True)
    state = TrainingState(folder, trainable, optimizer, ema=settings.ema_decay > 0)
    first = state.load()
    # On its device already, which accelerate would choose by itself.
    wrapped, optimizer = accelerator.prepare(module, optimizer, device_placement=[False, False])
    module.train()
    saved = time.monotonic()
    with _stop_signals() as stop, _log(folder, first) as lines:
        for step in _bar(range(first, settings.steps), label, settings.steps):
            began = time.monotonic()
            rate = learning_rate(step, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with process_rng(seed, label, step):
                scalars = wrapped(**batch_of(step))
            entry = _means(scalars)
            _check_finite(entry["loss"], label, step)
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(scalars["loss"])
            norm = accelerator.clip_grad_norm_(trainable.values(), settings.max_norm)
            optimizer.step()
            state.average(settings.ema_decay, step)
            entry |= {"step": step, "lr": rate, "grad_norm": float(norm)}
            entry["seconds"] = round(time.monotonic() - began, 4)
            last = step + 1 == settings.steps
            if validate and (last or (validate_every and (step + 1) % validate_every == 0)):
                entry |= _validation(module, state, validate)
            lines.write(json.dumps(entry) + "\n")
            overdue = time.monotonic() - saved > 60 * settings.save_minutes
            stopping, due = _anywhere(bool(stop), last or overdue)
            if stopping or due:
                lines.flush()
                on_main(functools.partial(state.save, step + 1))
                saved = time.monotonic()
            if stopping or (last and _anywhere(bool(stop))[0]):
                raise InterruptedRun(
                    f"{label} stopped after step {step + 1} of {settings.steps}; the state is "
                    f"saved. Go on with the same command and --resume."
                )
    state.keep_average()
    module.eval()


def _engine(device: torch.device) -> Accelerator:
    accelerator = Accelerator(cpu=device.type == "cpu")
    kind = accelerator.distributed_type
    if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise ValueError(
            f"training cannot be divided by {kind.value}: each process must hold the whole model, "
            "or its state is not saved. Start with torchrun or accelerate launch --multi_gpu."
        )
    return accelerator


def _means(scalars: dict[str, Tensor]) -> dict[str, float]:
    everywhere = exchange(*(v.detach().item() for v in scalars.values()))
    means = [sum(values) / len(values) for values in zip(*everywhere, strict=True)]
    return dict(zip(scalars, means, strict=True))


def _anywhere(*flags: bool) -> list[bool]:
    return [any(values) for values in zip(*exchange(*flags), strict=True)]


def _check_finite(loss: float, label: str, step: int) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss is {loss} at step {step} of {label}; nothing was updated. "
            "Look at the batch with --debug, or lower max_lr."
        )


def _validation(
    module: nn.Module, state: TrainingState, validate: Callable[[], dict[str, float]]
) -> dict[str, float]:
    with state.averaged():
        module.eval()
        scores = {f"validation_{k}": v for k, v in validate().items()}
        module.train()
    return scores


def _groups(
    trainable: dict[str, nn.Parameter], settings: OptimizerSettings
) -> list[dict[str, Any]]:
    decayed = [p for p in trainable.values() if p.ndim >= 2]
    plain = [p for p in trainable.values() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}]
    return [*groups, {"params": plain, "weight_decay": 0.0}]


@contextmanager
def _log(folder: Path, step: int) -> Iterator[TextIO]:
    """Open the log of steps, without the lines of steps that will be taken again."""
    if own_share().index:
        with Path(os.devnull).open("w") as nowhere:
            yield nowhere
        return
    path = folder / "steps.jsonl"
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)[:step]
        path.write_text("".join(lines))
    with path.open("a") as log:
        yield log


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them, where signals can be caught."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def receive(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if received:  # asked twice: the user means now
            raise KeyboardInterrupt
        received.append(number)

    before = {s: signal.signal(s, receive) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _bar(steps: range, label: str, total: int) -> Iterator[int]:
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn(), TextColumn("left"))
    shown = console.is_terminal and own_share().index == 0
    with Progress(*columns, console=console, disable=not shown) as bar:
        task = bar.add_task(label, total=total, completed=steps.start)
        for step in steps:
            yield step
            bar.advance(task)
