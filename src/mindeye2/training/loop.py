"""The training loop: one optimiser step a batch, resumable to the bit, for every model here.

A killed run resumes exactly because a step is a pure function of the weights, the optimiser's
state and the step's number: batches and noise are sampled from streams named by seed and step,
dropout from one named by seed, step and rank, so no sampler or generator has a position to
restore. With several processes each rank computes its rows and gradients are averaged; rank 0
alone writes, and all stop after the same step.
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
from typing import Any, TextIO

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor, nn

from mindeye2.core.errors import InterruptedRun
from mindeye2.core.runtime import process_rng, progress
from mindeye2.training.batches import prefetched
from mindeye2.training.distributed import current_shard, mean_over_ranks, run_on_rank0
from mindeye2.training.optimizer import OptimizerSettings, build_optimizer, set_schedule
from mindeye2.training.state import TrainingState

__all__ = ["OptimizerSettings", "Trainer", "fit"]

Batch = dict[str, Any]


class Trainer:
    """A module and its optimiser: one call is one step.

    Parameters
    ----------
    module
        Called with a batch's entries as keyword arguments; returns a dict of scalars, of which
        ``"loss"`` is minimised. Parameters that need no gradient stay as they are. With several
        processes the loss is the mean over ranks.
    settings
        Optimiser and schedule.
    device
        Device of this rank.
    seed
        Seeds dropout.
    label
        Names the training in messages and streams.
    """

    def __init__(
        self,
        module: nn.Module,
        settings: OptimizerSettings,
        *,
        device: torch.device,
        seed: int,
        label: str,
    ) -> None:
        module.to(device)
        self.settings, self.seed, self.label = settings, seed, label
        self.accelerator = _accelerator(device)
        self.trainable = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self.optimizer = build_optimizer(self.trainable, settings)
        # The module is on its device already; accelerate would choose one by itself.
        self.module, self._prepared = self.accelerator.prepare(
            module, self.optimizer, device_placement=[False, False]
        )

    def __call__(self, batch: Batch, step: int) -> dict[str, float]:
        """Take one step.

        Parameters
        ----------
        batch
            Keyword arguments of the module.
        step
            Number of the step, from 0.

        Returns
        -------
        dict
            The module's scalars, learning rate and gradient norm before clipping.

        Raises
        ------
        FloatingPointError
            If a loss is not finite; nothing is updated by that step.
        """
        rate = set_schedule(self.optimizer, step, self.settings)
        rank = current_shard().rank
        with process_rng(self.seed, self.label, step, *([rank] if rank else [])):
            scalars = self.module(**batch)
        entry = _means(scalars)
        self._check_finite(entry, step)
        self._prepared.zero_grad(set_to_none=True)
        self.accelerator.backward(scalars["loss"])
        norm = self._clip()
        self._prepared.step()
        return entry | {"lr": rate, "grad_norm": norm}

    def _clip(self) -> float:
        if self.settings.max_norm is not None:
            parameters = self.trainable.values()
            return float(self.accelerator.clip_grad_norm_(parameters, self.settings.max_norm))
        gradients = [p.grad for p in self.trainable.values() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    def _check_finite(self, entry: dict[str, float], step: int) -> None:
        wrong = [name for name, value in entry.items() if not math.isfinite(value)]
        if wrong:
            raise FloatingPointError(
                f"the loss is {entry['loss']} at step {step} of {self.label} (not finite: "
                f"{', '.join(wrong)}); nothing was updated. Look for extreme values in the betas "
                "with 'mindeye2 doctor', or lower max_lr."
            )


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
        Optimiser and schedule.
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
        If accelerate is configured for FSDP or DeepSpeed.
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


def _accelerator(device: torch.device) -> Accelerator:
    accelerator = Accelerator(cpu=device.type == "cpu")
    kind = accelerator.distributed_type
    if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise ValueError(
            f"training cannot be divided by {kind.value}: each process must hold the whole model, "
            "or its state is not saved. Start with torchrun or accelerate launch --multi_gpu."
        )
    return accelerator


def _means(scalars: dict[str, Tensor]) -> dict[str, float]:
    """Average scalars over ranks, in one transfer."""
    values = torch.stack([v.detach().double() for v in scalars.values()])
    return dict(zip(scalars, mean_over_ranks(values).tolist(), strict=True))


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
