"""The training loop: one optimiser step a batch, resumable to the bit, for every model here.

A killed run resumes exactly because a step is a pure function of the weights, the optimiser's
state and the step's number: batches and noise are sampled from streams named by seed and step,
dropout from one named by seed, step and rank, so no sampler or generator has a position to
restore. With several processes each rank computes its rows and gradients are averaged; rank 0
alone writes, and all stop after the same step.
"""

import functools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

import torch
from torch import nn

from mindeye2.core.errors import InterruptedRun
from mindeye2.core.runtime import progress
from mindeye2.training.batches import prefetched
from mindeye2.training.distributed import current_shard, mean_over_ranks, run_on_rank0
from mindeye2.training.micro_batches import Batch
from mindeye2.training.optimizer import OptimizerSettings
from mindeye2.training.state import TrainingState
from mindeye2.training.trainer import Trainer

__all__ = ["OptimizerSettings", "fit"]


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
    """Train `module` in place, resuming from the state saved in `folder` if there is one.

    Parameters
    ----------
    module
        See `Trainer`.
    batch_of
        The batch of one step, a pure function of the step's number; this rank's rows of it.
    settings
        Optimiser, schedule, and how a step is computed.
    seed
        Seeds dropout.
    folder
        Run folder: ``steps.jsonl`` gets a line a step, ``state/`` what a resumed run needs.
    device
        Device of this rank, from `mindeye2.training.distributed.init_processes`.
    label
        Text of the progress bar.
    validate
        Returns scores of the module as it is; called in eval mode.
    validate_every
        Steps between two validations; 0 validates at the end only.

    Raises
    ------
    FloatingPointError
        If a loss is not finite; nothing is updated by that step.
    InterruptedRun
        On Ctrl-C or SIGTERM in any process, after the state was saved.
    ArtifactError
        If the state cannot be written, does not belong to this module, or is not on a file system
        that all processes read.
    ValueError
        If the settings do not fit the module or the device; see `Trainer`.
    """
    train_step = Trainer(module, settings, device=device, seed=seed, label=label)
    state = TrainingState(
        folder, train_step.trainable, train_step.optimizer, ema=settings.ema_decay > 0
    )
    first = state.load()
    entry: dict[str, float] = {}

    def loss() -> str:
        return f"loss {entry['loss']:.4g}"

    module.train()
    saved = time.monotonic()
    steps = range(first, settings.steps)
    with (
        _stop_signals() as stop,
        _log(folder, first) as lines,
        _tensor_float32(),
        prefetched(batch_of, steps) as take,
    ):
        for step in progress(steps, label=label, total=settings.steps, start=first, note=loss):
            began = time.monotonic()
            entry = train_step(take(step), step)
            state.average(settings.ema_decay, step)
            entry |= {"step": step, "seconds": round(time.monotonic() - began, 4)}
            last = step + 1 == settings.steps
            if validate and (last or (validate_every and (step + 1) % validate_every == 0)):
                entry |= _validation(module, state, validate)
            lines.write(json.dumps(entry) + "\n")
            overdue = time.monotonic() - saved > 60 * settings.save_minutes
            stopping, due = _on_any_rank(bool(stop), last or overdue, device=device)
            if stopping or due:
                lines.flush()
                run_on_rank0(functools.partial(state.save, step + 1))
                saved = time.monotonic()
            # A signal during the last save stops too, or the stage would go on after it.
            if stopping or (last and _on_any_rank(bool(stop), device=device)[0]):
                raise InterruptedRun(
                    f"{label} stopped after step {step + 1} of {settings.steps}; the state is "
                    f"saved. Go on with the same command and --resume."
                )
    state.keep_average()
    module.eval()


def _on_any_rank(*flags: bool, device: torch.device) -> list[bool]:
    if current_shard().world_size == 1:
        return list(flags)
    means = mean_over_ranks(torch.tensor(flags, dtype=torch.float32, device=device))
    return [value > 0 for value in means.tolist()]


def _validation(
    module: nn.Module, state: TrainingState, validate: Callable[[], dict[str, float]]
) -> dict[str, float]:
    with state.averaged():
        module.eval()
        scores = {f"validation_{k}": v for k, v in validate().items()}
        module.train()
    return scores


@contextmanager
def _log(folder: Path, step: int) -> Iterator[TextIO]:
    """Open the log of steps, without the lines of steps that will be taken again."""
    if current_shard().rank:
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
def _tensor_float32() -> Iterator[None]:
    """Multiply matrices in TF32 where there is CUDA."""
    before = torch.get_float32_matmul_precision()
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of ending the process, where signals can be caught."""
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
