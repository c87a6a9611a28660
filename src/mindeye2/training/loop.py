"""The training loop: one optimiser step a batch, resumable to the bit, for every model here.

A killed run resumes exactly because a step is a pure function of the weights, the optimiser's
state and the step's number: batches and noise are sampled from streams named by seed and step,
dropout from one named by seed, step and rank, so no sampler or generator has a position to
restore. With several processes each rank computes its rows and gradients are averaged; all write
the state and stop after the same step.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from torch import nn

from mindeye2.core.errors import InterruptedRun
from mindeye2.core.runtime import progress
from mindeye2.training.batches import prefetched
from mindeye2.training.distributed import current_shard, mean_over_ranks, run_on_rank0
from mindeye2.training.micro_batches import Batch, count_rows
from mindeye2.training.optimizer import OptimizerSettings
from mindeye2.training.state import TrainingState
from mindeye2.training.step_log import open_log
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
        Returns scores of the module as it is; called in eval mode, on the first rank.
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
        folder,
        module,
        trainable=train_step.trainable,
        optimizer=train_step.optimizer,
        ema=settings.ema_decay > 0,
        scaler=train_step.scaler,
    )
    first = state.load()
    module.train()
    train_step.module.train()
    saved = time.monotonic()
    steps = range(first, settings.steps)

    def overdue() -> bool:
        return time.monotonic() - saved > 60 * settings.save_minutes

    with (
        _stop_signals() as stop,
        open_log(folder, first, trackers=settings.trackers, label=label) as log,
        _tensor_float32(),
        prefetched(batch_of, steps) as take,
    ):
        shown = progress(steps, label=label, total=settings.steps, start=first, note=log.note)
        for step in shown:
            began, last = time.monotonic(), step + 1 == settings.steps
            if current_shard().rank == 0 and (step == first or last or overdue()):
                state.check_space(step)
            batch = take(step)
            entry = train_step(batch, step)
            state.average(settings.ema_decay, step)
            seconds = time.monotonic() - began
            entry |= {"step": step, "seconds": round(seconds, 4)}
            entry |= train_step.utilisation.of_step(seconds)
            if validate and (last or (validate_every and (step + 1) % validate_every == 0)):
                entry |= _validation(module, state, validate)
            log.write(entry, n_rows=count_rows(batch) * current_shard().world_size)
            stopping, due = _on_any_rank(bool(stop), last or overdue(), device=device)
            if stopping or due:
                log.flush()
                state.save(step + 1)
                saved = time.monotonic()
            state.poll()
            if stopping or last:
                state.wait()
            # A signal during the last save stops too, or the stage would go on after it.
            if stopping or (last and _on_any_rank(bool(stop), device=device)[0]):
                raise InterruptedRun(
                    f"{label} stopped after step {step + 1} of {settings.steps}; the state is "
                    f"saved. Continue with the same command and --resume."
                )
    state.keep()
    module.to(device).eval()


def _on_any_rank(*flags: bool, device: torch.device) -> list[bool]:
    if current_shard().world_size == 1:
        return list(flags)
    means = mean_over_ranks(torch.tensor(flags, dtype=torch.float32, device=device))
    return [value > 0 for value in means.tolist()]


def _validation(
    module: nn.Module, state: TrainingState, validate: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """Validate on the first rank, while the others wait."""
    with state.in_place():
        module.eval()
        scores = run_on_rank0(validate) or {}
        module.train()
    return {f"validation_{name}": score for name, score in scores.items()}


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
