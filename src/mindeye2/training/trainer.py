"""One optimiser step: precision, micro-batches, several processes, clipping."""

import contextlib
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mindeye2.core.runtime import process_rng
from mindeye2.training.blocks import recomputed
from mindeye2.training.distributed import current_shard, mean_over_ranks
from mindeye2.training.gpus import gpu_named
from mindeye2.training.micro_batches import (
    Batch,
    ComparesRows,
    count_rows,
    name_extremes,
    split_rows,
    take_rows,
)
from mindeye2.training.optimizer import OptimizerSettings, build_optimizer, set_schedule
from mindeye2.training.sharding import sharded_copy, whole_tensor
from mindeye2.training.utilisation import Utilisation

__all__ = ["DTYPES", "Trainer"]

DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Dtype of autocast by precision."""


class Trainer:
    """A module and its optimiser: one call is one step.

    Parameters
    ----------
    module
        Called with a batch's entries as keyword arguments; returns a dict of scalars, of which
        ``"loss"`` is minimised. Parameters that need no gradient stay as they are. With several
        processes or micro-batches the loss is the mean over them; a module whose loss compares
        rows is a `mindeye2.training.micro_batches.ComparesRows`, and one that can be computed on
        whole batches only has an attribute ``whole_batch``.
    settings
        Optimiser, schedule, and how a step is computed.
    device
        Device of this rank.
    seed
        Seeds dropout.
    label
        Names the training in messages and streams.

    Raises
    ------
    ValueError
        If the device has no bfloat16, the module cannot be computed in micro-batches, or
        accelerate is configured for a sharding of its own.
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
        _check_environment(settings)
        if settings.precision == "bfloat16" and device.type == "cuda":
            _check_bfloat16()
        if settings.accumulate > 1 and getattr(module, "whole_batch", False):
            raise ValueError(
                f"the loss of {label} needs whole batches: set optimizer.accumulate to 1."
            )
        self.settings, self.seed, self.label, self.device = settings, seed, label, device
        several = current_shard().world_size > 1
        if several and settings.sharding == "fsdp":
            module = sharded_copy(module, device, dtype=DTYPES[settings.precision])
        self.module = module.to(device)
        self.trainable = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self.optimizer = build_optimizer(self.trainable, settings)
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "float16")
        self.utilisation = Utilisation(_peak(device, settings.precision))
        self._recomputed = recomputed(
            module,
            checkpointing=settings.checkpointing,
            compiling=settings.compile_blocks,
            again=self.utilisation.repeated,
        )
        self._parallel = module
        if several and settings.sharding == "none":
            own = [device] if device.type == "cuda" else None
            self._parallel = DistributedDataParallel(module, device_ids=own)

    def __call__(self, batch: Batch, step: int) -> dict[str, float]:
        """Take one step.

        Parameters
        ----------
        batch
            Keyword arguments of the module; ``trials``, the numbers of the rows by subject, is
            for messages only.
        step
            Number of the step, from 0.

        Returns
        -------
        dict
            The module's scalars, learning rate and gradient norm before clipping.

        Raises
        ------
        FloatingPointError
            If a loss or the gradient is not finite; nothing is updated by that step.
        """
        batch, trials = dict(batch), batch.get("trials", {})
        batch.pop("trials", None)
        rate = set_schedule(self.optimizer, step, self.settings)
        with self.utilisation.counted():
            scalars = self.compute_gradients(batch, step)
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.trainable.values() if p.grad is not None]
        norm = whole_tensor(torch.nn.utils.get_total_norm(gradients))
        entry = _means({**scalars, "grad_norm": norm})
        self._check_finite(entry, batch, trials, step=step)
        if self.settings.max_norm is not None:
            parameters = list(self.trainable.values())
            torch.nn.utils.clip_grads_with_norm_(parameters, self.settings.max_norm, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        norm_of_all = entry.pop("grad_norm")
        return entry | {"lr": rate, "grad_norm": norm_of_all}

    def compute_gradients(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Compute the gradients of a batch without ``trials``; return the module's scalars."""
        self.optimizer.zero_grad(set_to_none=True)
        with self._recomputed():
            if self.settings.accumulate > 1:
                return self._accumulated(batch, step)
            scalars = self._computed(batch, step)
            self.scaler.scale(scalars["loss"]).backward()
        return scalars

    def _computed(
        self, batch: Batch, step: int, *, part: int = 0, parallel: bool = True
    ) -> dict[str, Tensor]:
        """Call the module with the precision and the dropout of one micro-batch of a step."""
        rank = current_shard().rank
        # The first micro-batch of the first rank has the stream of a step without any.
        stream = [rank, part] if part else [rank] if rank else []
        module = self._parallel if parallel else self.module
        with process_rng(self.seed, self.label, step, *stream), self._autocast():
            result: dict[str, Tensor] = module(**batch)
        return result

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = DTYPES[self.settings.precision]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def _accumulated(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Add up the gradients of all micro-batches, and return the scalars of the whole batch."""
        n = self.settings.accumulate
        compared: dict[str, Tensor] = {}
        more: Sequence[dict[str, Any]] = [{} for _ in range(n)]
        if isinstance(self.module, ComparesRows):
            rows, parts = self.module.split(batch, n)
            compared, more = self._compared(batch, rows, parts, step=step)
        else:
            rows = split_rows(count_rows(batch), n)
            parts = [{k: take_rows(v, own) for k, v in batch.items()} for own in rows]
        sums: dict[str, Tensor] = {}
        for i, part in enumerate(parts):
            with self._unsynchronised() if i < n - 1 else contextlib.nullcontext():
                scalars = self._computed({**part, **more[i]}, step, part=i)
                surrogate = scalars.pop("surrogate", 0)
                self.scaler.scale(scalars["loss"] / n + surrogate).backward()
            for name, value in scalars.items():
                sums[name] = sums.get(name, 0) + value.detach() / n
        total = sums["loss"] + compared.pop("loss", 0)
        return {**sums, **compared, "loss": total}

    def _compared(
        self, batch: Batch, rows: Sequence[Tensor], parts: Sequence[Batch], *, step: int
    ) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
        """Return the terms that compare rows, and their gradient at each part's embeddings."""
        assert isinstance(self.module, ComparesRows)
        with torch.no_grad(), self.utilisation.repeated():
            embedded = [
                self._computed({**part, "embed": True}, step, part=i, parallel=False)
                for i, part in enumerate(parts)
            ]
        order = torch.cat(list(rows)).argsort().to(self.device)
        leaves = {
            name: torch.cat([e[name] for e in embedded])[order].float().requires_grad_()
            for name in embedded[0]
        }
        terms = self.module.compare(leaves, batch)
        gradients = dict.fromkeys(leaves)
        if leaves:
            found = torch.autograd.grad(terms["loss"], list(leaves.values()))
            gradients = dict(zip(leaves, found, strict=True))
        more = [{"gradients": take_rows(gradients, own)} for own in rows]
        return {k: v.detach() for k, v in terms.items()}, more

    def _unsynchronised(self) -> AbstractContextManager[Any]:
        if isinstance(self._parallel, DistributedDataParallel):
            no_sync: AbstractContextManager[Any] = self._parallel.no_sync()
            return no_sync
        return contextlib.nullcontext()

    def _check_finite(
        self, entry: Mapping[str, float], batch: Batch, trials: Mapping[str, Tensor], *, step: int
    ) -> None:
        wrong = [name for name, value in entry.items() if not math.isfinite(value)]
        if wrong != ["grad_norm"]:
            wrong = [name for name in wrong if name != "grad_norm"]
        elif self.scaler.is_enabled():
            wrong = []  # it skips the step and scales less
        if not wrong:
            return
        of_ranks: list[str] = gather_object([name_extremes(batch, trials)])
        extremes = "; ".join(filter(None, of_ranks)) or "none in the batch"
        raise FloatingPointError(
            f"the loss is {entry['loss']} at step {step} of {self.label} (not finite: "
            f"{', '.join(wrong)}); nothing was updated. Extreme values: {extremes}. Look for "
            "them in the betas with 'mindeye2 doctor', or lower max_lr."
        )


def _peak(device: torch.device, precision: str) -> float | None:
    gpu = gpu_named(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return None if gpu is None else gpu.peak(precision)


def _check_bfloat16() -> None:
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError(
            f"{torch.cuda.get_device_name()} has no bfloat16: set optimizer.precision to float16 "
            "or float32."
        )


def _check_environment(settings: OptimizerSettings) -> None:
    """Refuse accelerate's own sharding, and say that its precision is not the one taken."""
    for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() in ("true", "1"):
            raise ValueError(
                f"training cannot be divided by accelerate's {name}. Start with torchrun or "
                "accelerate launch --multi_gpu, with optimizer.sharding=fsdp to shard the model."
            )
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    known = {"no": settings.precision, "bf16": "bfloat16", "fp16": "float16"}
    if known.get(asked) != settings.precision:
        warnings.warn(
            f"accelerate is configured for mixed precision {asked!r}, but training takes its "
            f"precision from its settings: optimizer.precision is {settings.precision!r}.",
            stacklevel=3,
        )


def _means(scalars: Mapping[str, Tensor]) -> dict[str, float]:
    """Average scalars over ranks, in one transfer."""
    values = torch.stack([v.detach().double() for v in scalars.values()])
    return dict(zip(scalars, mean_over_ranks(values).tolist(), strict=True))
