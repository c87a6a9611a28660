"""The plan of a training: what it needs, and the layout of a step that fits the GPUs."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from mindeye2.core.errors import check_choice
from mindeye2.models.model_settings import ModelSettings
from mindeye2.planning.data_size import DataSize
from mindeye2.planning.footprint import Footprint, footprint
from mindeye2.planning.sample_step import StepSettings
from mindeye2.planning.storage import disk_bytes, host_bytes, start_bytes
from mindeye2.stages.train import AdaptTraining, SharedTraining
from mindeye2.training.distributed import Shard
from mindeye2.training.gpus import GPUS

__all__ = ["Layout", "Memory", "Plan", "plan_training"]

ASSUMED_UTILISATION = 0.4
"""Fraction of the peak arithmetic that a step reaches where none was measured."""

RESERVE = 0.08
"""Fraction of a GPU that the CUDA context and gaps between allocations take."""

UPDATE_TRAFFIC = 28
"""Bytes a parameter that AdamW reads and writes: weight, gradient and both moments."""

PASS_TRAFFIC = {"float32": 12, "bfloat16": 18, "float16": 18}
"""Bytes a parameter that a forward and backward pass moves: twice the weight, its gradient, and
in half precision their conversions. With few rows a step this takes longer than the arithmetic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the trials of a step are laid out over GPUs and time."""

    accumulate: int = 1
    """Micro-batches of a step."""

    checkpointing: bool = False
    """Compute activations again on the way back."""

    sharding: Literal["none", "fsdp"] = "none"
    """Each GPU holds the whole model, or a shard of its weights, gradients and moments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on one GPU."""

    weights: float
    gradients: float
    moments: float
    activations: float
    peak: float
    """Most at any moment; gradients and activations are not all there at once."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a training needs."""

    gpu: str
    n_gpus: int
    data: DataSize
    precision: str
    parameters: dict[str, int]
    """By part of the model."""

    n_trainable: int
    batch_size: int
    """Trials of a step, of all GPUs together."""

    micro_batch: int
    """Trials that one GPU computes at a time."""

    layout: Layout
    fits: bool
    """Whether `layout` fits; otherwise it is the one that needs least memory."""

    remedies: tuple[str, ...]
    """Changes of settings with which it needs less memory."""

    memory: Memory
    start: float
    """Bytes on the first GPU in the closed-form start; 0 without."""

    budget: float
    """Bytes of a GPU that a training can use."""

    host: dict[str, float]
    """Bytes of host memory by purpose, of all processes on one machine."""

    disk: dict[str, float]
    """Bytes on disk by purpose."""

    flops: float
    """Floating-point operations of a step of all GPUs, with those computed twice."""

    utilisation: float
    """Fraction of the peak arithmetic."""

    utilisation_from: str
    """``"assumed"`` or ``"measured"``."""

    seconds_per_step: float
    n_steps: int
    steps_per_epoch: int

    @property
    def n_parameters(self) -> int:
        """Return the number of parameters."""
        return sum(self.parameters.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as values for JSON."""
        return {**asdict(self), "n_parameters": self.n_parameters}


def plan_training(
    settings: SharedTraining | AdaptTraining,
    *,
    data: DataSize,
    gpu: str = "h100",
    n_gpus: int = 1,
    sizes: ModelSettings | None = None,
    utilisation: float | None = None,
) -> Plan:
    """Plan a training: its memory, disk, arithmetic and time on some GPUs.

    Parameters
    ----------
    settings
        Settings of the training.
    data
        Counts of the subjects that it trains on.
    gpu
        Name of the GPU, one of `GPUS`.
    n_gpus
        Number of GPUs, a process on each.
    sizes
        Sizes of the pretrained model, for an adaptation.
    utilisation
        Measured fraction of the peak arithmetic, in (0, 1]; assumed by default.

    Returns
    -------
    Plan
        With the layout that costs least time among those that fit.

    Raises
    ------
    ValueError
        If the GPU is unknown, or the batch cannot be divided among so many.
    """
    check_choice("--gpu", gpu, GPUS)
    if utilisation is not None and not 0 < utilisation <= 1:
        raise ValueError(f"--utilisation must be above 0 and at most 1, got {utilisation}.")
    card = GPUS[gpu]
    step = step_settings(settings, data, sizes)
    setting = "per_subject" if isinstance(settings, SharedTraining) else "batch_size"
    rows = "trials of each subject"
    Shard(world_size=n_gpus).check(step.per_subject, rows=rows, setting=setting)
    budget = (1 - RESERVE) * card.gib * 2**30
    layout, measured, memory = _choose_layout(step, n_gpus=n_gpus, budget=budget)
    start = start_bytes(settings, measured, data=data)
    n_subjects = len(data.n_voxels)
    batch_size = step.per_subject * n_subjects
    flops = measured.flops * n_gpus
    rate = (utilisation or ASSUMED_UTILISATION) * card.peak(step.optimizer.precision) * n_gpus
    shards = n_gpus if layout.sharding == "fsdp" else 1
    traffic = UPDATE_TRAFFIC / shards
    traffic += PASS_TRAFFIC[step.optimizer.precision] * layout.accumulate
    moved = traffic * measured.trainable
    n_trials = sum(data.n_trials.values())
    steps_per_epoch, n_steps = max(1, n_trials // batch_size), step.optimizer.steps
    if isinstance(settings, SharedTraining):
        length = settings.epoch_length(
            n_subjects=n_subjects, n_sessions=data.n_sessions, batch_size=batch_size
        )
        steps_per_epoch = length or steps_per_epoch
        n_steps = settings.resolved_optimizer(length).steps
    return Plan(
        gpu=gpu,
        n_gpus=n_gpus,
        data=data,
        precision=step.optimizer.precision,
        parameters=measured.parameters,
        n_trainable=measured.trainable,
        batch_size=batch_size,
        micro_batch=batch_size // n_gpus // layout.accumulate,
        layout=layout,
        fits=max(memory.peak, start) <= budget,
        remedies=tuple(_remedies(settings, step, sizes)),
        memory=memory,
        start=start,
        budget=budget,
        host=host_bytes(settings, measured, n_gpus=n_gpus),
        disk=disk_bytes(settings, measured, data=data, sizes=step.model),
        flops=flops,
        utilisation=utilisation or ASSUMED_UTILISATION,
        utilisation_from="measured" if utilisation else "assumed",
        seconds_per_step=flops / rate + moved / (1e12 * card.bandwidth),
        n_steps=n_steps,
        steps_per_epoch=steps_per_epoch,
    )


def step_settings(
    settings: SharedTraining | AdaptTraining, data: DataSize, sizes: ModelSettings | None
) -> StepSettings:
    """Return what determines the cost of a step of a recipe; of an adaptation, its last level."""
    if isinstance(settings, SharedTraining):
        return StepSettings(
            model=settings.model,
            losses=settings.losses,
            optimizer=settings.optimizer,
            n_voxels=data.n_voxels,
            per_subject=settings.per_subject,
        )
    level = settings.levels[-1]
    optimizers = {"full": settings.full, "lora": settings.lora}
    return StepSettings(
        model=sizes or ModelSettings(),
        losses=settings.losses,
        optimizer=optimizers.get(level, settings.ridge),
        n_voxels=data.n_voxels,
        per_subject=settings.batch_size,
        frozen=() if level in optimizers else ("prior", "backbone", "projector", "lowlevel"),
        lora=settings.lora if level == "lora" else None,
    )


def _remedies(
    settings: SharedTraining | AdaptTraining, step: StepSettings, sizes: ModelSettings | None
) -> Iterator[str]:
    """Return what the user can change: the size of a pretrained model is given."""
    trained = "optimizer"
    if isinstance(settings, AdaptTraining):
        trained = "ridge" if step.frozen else settings.levels[-1]
    if step.optimizer.precision == "float32":
        yield f"{trained}.precision=bfloat16"
    if isinstance(settings, AdaptTraining) and not step.frozen:
        yield "levels=[closed_form,ridge], which trains the subject's ridge alone"
    if isinstance(settings, SharedTraining) and sizes is None:
        yield "a smaller model.n_latent"


def _choose_layout(
    step: StepSettings, *, n_gpus: int, budget: float
) -> tuple[Layout, Footprint, Memory]:
    """Return the fastest layout that fits, else the one that needs least memory."""
    known: dict[tuple[int, bool, bool], Footprint] = {}
    found: dict[Layout, tuple[Footprint, Memory]] = {}

    def fits(layout: Layout) -> bool:
        changes = {"accumulate": layout.accumulate, "checkpointing": layout.checkpointing}
        optimizer = step.optimizer.model_copy(update=changes)
        sharded = layout.sharding == "fsdp"
        key = layout.accumulate, layout.checkpointing, sharded
        if key not in known:
            changed = replace(step, optimizer=optimizer)
            known[key] = footprint(changed, n_ranks=n_gpus, sharded=sharded)
        found[layout] = known[key], _on_each_gpu(known[key], step, layout, n_gpus=n_gpus)
        return found[layout][1].peak <= budget

    layouts = _layouts(step.per_subject // n_gpus, n_gpus=n_gpus)
    # Measuring takes seconds: where neither extreme fits, what lies between does not either.
    if not fits(layouts[0]) and fits(layouts[-1]):
        next(x for x in layouts[1:] if x is layouts[-1] or fits(x))
    best = min(found, key=lambda layout: found[layout][1].peak)
    fitting = [x for x in layouts if x in found and found[x][1].peak <= budget]
    layout = (*fitting, best)[0]
    return layout, *found[layout]


def _layouts(per_subject: int, *, n_gpus: int) -> list[Layout]:
    """Return layouts, the fastest first and the one that needs least memory last."""
    shardings: tuple[Literal["none", "fsdp"], ...] = ("none", "fsdp") if n_gpus > 1 else ("none",)
    every = [
        Layout(accumulate=n, checkpointing=checkpointing, sharding=sharding)
        for n in range(1, per_subject + 1)
        if per_subject % n == 0
        for checkpointing in (False, True)
        for sharding in shardings
    ]

    def cost(layout: Layout) -> tuple[int, bool, int]:
        # Accumulation costs a forward pass, sharding the transfer of all weights, checkpointing
        # the forward pass of the blocks.
        dear = (layout.accumulate > 1) + (layout.sharding == "fsdp")
        return dear, layout.checkpointing, layout.accumulate

    return sorted(every, key=cost)


def _on_each_gpu(found: Footprint, step: StepSettings, layout: Layout, *, n_gpus: int) -> Memory:
    """Divide what is sharded, and add what several processes need besides the step itself."""
    n_rows = step.per_subject * len(step.n_voxels) * (n_gpus - 1) / n_gpus
    # Tokens of other ranks: preds, targets, both normalised, and a gradient, in float32.
    gathered = 5 * 4 * n_rows * step.model.n_tokens * step.model.n_features
    part = n_gpus if layout.sharding == "fsdp" else 1
    resting = (found.weights + found.moments) / part
    peaks = [resting + found.held, resting + found.gradients / part]
    if n_gpus > 1 and part == 1:
        # Gradients are averaged in buckets as large as themselves.
        peaks = [max(peaks) + found.gradients]
    elif part > 1:
        # The largest layer is gathered into a buffer, and copied from there to its place; later
        # its gradient is copied to a buffer in float32. For a validation, the model is gathered.
        width = 4 if step.optimizer.precision == "float32" else 2
        gathering = found.held + 2 * width * found.largest_layer
        peaks = [resting + found.gradients / part + gathering, resting + found.weights]
    return Memory(
        weights=found.weights / part,
        gradients=found.gradients / part,
        moments=found.moments / part,
        activations=found.activations + gathered,
        peak=max(peaks) + gathered,
    )
