"""The training loop: one optimiser step a batch, resumable to the bit, for every model here.

What makes a killed run resume exactly is that a step is a pure function of the weights, the
optimiser's state and the step's number: batches, noise and dropout are all drawn from streams that
are named by ``(seed, step)``, so no sampler or generator has a position to restore.
"""

import json
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import torch
from accelerate import Accelerator
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mindeye2.core.artifacts import write_json
from mindeye2.core.errors import ArtifactError, InterruptedRun
from mindeye2.core.runtime import process_rng
from mindeye2.core.settings import Settings

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
        ``"loss"`` is minimised. Parameters that need no gradient stay as they are.
    batch_of
        The batch of one step, a pure function of the step's number.
    settings
        Optimiser and schedule.
    seed
        Seeds what a module draws from the process's generator, i.e. dropout.
    folder
        Run folder: ``steps.jsonl`` gets a line a step, ``state/`` what a resumed run needs.
    device
        Where to train.
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
        On Ctrl-C or SIGTERM, after the state was saved.
    ArtifactError
        If the state cannot be written, or does not belong to this module.
    """
    accelerator = Accelerator(cpu=device.type == "cpu")
    module.to(device)
    trainable = {n: p for n, p in module.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(_groups(trainable, settings), lr=settings.max_lr, fused=True)
    state = _State(folder, trainable, optimizer, ema=settings.ema_decay > 0)
    first = state.load()
    wrapped, optimizer = accelerator.prepare(module, optimizer)
    log = folder / "steps.jsonl"
    _keep_lines(log, first)
    module.train()
    saved = time.monotonic()
    with _stop_signals() as stop, log.open("a") as lines:
        for step in _bar(range(first, settings.steps), label, settings.steps):
            began = time.monotonic()
            rate = learning_rate(step, settings)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with process_rng(seed, label, step):
                scalars = wrapped(**batch_of(step))
            loss = scalars["loss"]
            _check_finite(loss, label, step)
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_(trainable.values(), settings.max_norm)
            optimizer.step()
            state.average(settings.ema_decay, step)
            entry: dict[str, float] = {k: v.detach().item() for k, v in scalars.items()}
            entry |= {"step": step, "lr": rate, "grad_norm": float(norm)}
            entry["seconds"] = round(time.monotonic() - began, 4)
            last = step + 1 == settings.steps
            if validate and (last or (validate_every and (step + 1) % validate_every == 0)):
                entry |= _validation(module, state, validate)
            lines.write(json.dumps(entry) + "\n")
            if stop or last or time.monotonic() - saved > 60 * settings.save_minutes:
                lines.flush()
                state.save(step + 1)
                saved = time.monotonic()
            if stop:
                raise InterruptedRun(
                    f"{label} stopped after step {step + 1} of {settings.steps}; the state is "
                    f"saved. Go on with the same command and --resume."
                )
    state.keep_average()
    module.eval()


def _check_finite(loss: Tensor, label: str, step: int) -> None:
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"the loss is {loss.item()} at step {step} of {label}; nothing was updated. "
            "Look at the batch with --debug, or lower max_lr."
        )


def _validation(
    module: nn.Module, state: "_State", validate: Callable[[], dict[str, float]]
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


class _State:
    """Weights, optimiser moments and averages of one run, saved and loaded without pickle."""

    def __init__(
        self,
        folder: Path,
        trainable: dict[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        *,
        ema: bool,
    ) -> None:
        self.folder = folder / "state"
        self.trainable = trainable
        self.optimizer = optimizer
        self.ema = {n: p.detach().clone() for n, p in trainable.items()} if ema else {}

    def load(self) -> int:
        """Restore the saved state; return the next step, 0 where nothing was saved."""
        spare = self.folder.with_name("state.old")
        if spare.exists() and not self.folder.exists():  # killed between the two renames
            spare.rename(self.folder)
        if not self.folder.exists():
            return 0
        step: int = json.loads((self.folder / "progress.json").read_text())["step"]
        tensors = load_file(self.folder / "state.safetensors")
        names = {key.partition("/")[2] for key in tensors if key.startswith("weight/")}
        if names != set(self.trainable):
            other = sorted(names ^ set(self.trainable))[:3]
            raise ArtifactError(
                f"the saved state in {self.folder} is of another model: {other} differ. "
                "Resume with the settings of the first run, or give another --out."
            )
        with torch.no_grad():
            for name, parameter in self.trainable.items():
                parameter.copy_(tensors[f"weight/{name}"])
                self.optimizer.state[parameter] = {
                    "step": torch.tensor(float(step)),
                    "exp_avg": tensors[f"mean/{name}"].to(parameter.device),
                    "exp_avg_sq": tensors[f"square/{name}"].to(parameter.device),
                }
                if self.ema:
                    self.ema[name].copy_(tensors[f"average/{name}"])
        return step

    def save(self, step: int) -> None:
        """Write the state beside the old one, then swap them, so that one is always whole."""
        fresh, spare = self.folder.with_name("state.new"), self.folder.with_name("state.old")
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.trainable.items():
            moments = self.optimizer.state[parameter]
            tensors[f"weight/{name}"] = parameter.detach().cpu().contiguous()
            tensors[f"mean/{name}"] = moments["exp_avg"].cpu().contiguous()
            tensors[f"square/{name}"] = moments["exp_avg_sq"].cpu().contiguous()
            if self.ema:
                tensors[f"average/{name}"] = self.ema[name].cpu().contiguous()
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            save_file(tensors, fresh / "state.safetensors")
            write_json(fresh / "progress.json", {"step": step})
        except Exception as error:  # safetensors has an error type of its own for a full disk
            shutil.rmtree(fresh, ignore_errors=True)
            size = sum(t.numel() * t.element_size() for t in tensors.values()) / 2**20
            raise ArtifactError(
                f"the state after step {step} could not be written to {self.folder} ({error}); it "
                f"needs {size:.0f} MiB. The state saved before it is untouched: free disk space "
                "and run the same command with --resume."
            ) from error
        shutil.rmtree(spare, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(spare)
        fresh.rename(self.folder)
        shutil.rmtree(spare, ignore_errors=True)

    def average(self, decay: float, step: int) -> None:
        """Move the running average towards the weights; faster in the first steps."""
        if self.ema:
            weight = 1 - min(decay, (1 + step) / (10 + step))
            averages = list(self.ema.values())
            torch._foreach_lerp_(averages, [p.detach() for p in self.trainable.values()], weight)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averaged weights in place for a block."""
        if not self.ema:
            yield
            return
        current = {n: p.detach().clone() for n, p in self.trainable.items()}
        self.keep_average()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self.trainable.items():
                    parameter.copy_(current[name])

    @torch.no_grad()
    def keep_average(self) -> None:
        """Replace the weights by their average, where one is kept."""
        for name, average in self.ema.items():
            self.trainable[name].copy_(average)


def _keep_lines(log: Path, step: int) -> None:
    """Drop the lines of steps that will be taken again."""
    if log.exists():
        lines = log.read_text().splitlines(keepends=True)[:step]
        log.write_text("".join(lines))


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
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=total, completed=steps.start)
        for step in steps:
            yield step
            bar.advance(task)
