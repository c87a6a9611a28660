"""A plan as a short table for the terminal."""

from rich import box
from rich.console import Console
from rich.table import Table

from mindeye2.planning.plan import Plan

__all__ = ["print_plan"]


def _gib(n: float) -> str:
    return f"{n / 2**30:,.1f} GiB"


def _hours(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _rows(plan: Plan) -> list[tuple[str, str, str]]:
    """Return name, value and detail of each row."""
    memory, layout = plan.memory, plan.layout
    parts = ", ".join(f"{name} {n:,}" for name, n in plan.parameters.items())
    step = (
        f"{plan.flops / 1e12:,.3g} TFLOP at {100 * plan.utilisation:.0f} % of the peak "
        f"({plan.utilisation_from}), and memory traffic"
    )
    device = (
        f"weights {_gib(memory.weights)}, gradients {_gib(memory.gradients)}, moments "
        f"{_gib(memory.moments)}, activations {_gib(memory.activations)}, not all at once; "
        f"usable: {_gib(plan.budget)}"
    )
    micro = (
        f"{plan.micro_batch} on a GPU at a time: optimizer.accumulate={layout.accumulate}, "
        f"optimizer.checkpointing={str(layout.checkpointing).lower()}"
    )
    if plan.n_gpus > 1:
        micro += f", optimizer.sharding={layout.sharding}"
    if plan.start:
        device += f"; closed-form start: {_gib(plan.start)}"
    return [
        ("parameters", f"{plan.n_parameters:,}", f"{parts}; {plan.n_trainable:,} trained"),
        ("batch", f"{plan.batch_size} trials", f"of {len(plan.data.n_voxels)} subjects; {micro}"),
        ("GPU memory", _gib(memory.peak), device),
        ("host memory", _gib(sum(plan.host.values())), _listed(plan.host)),
        ("disk", _gib(sum(plan.disk.values())), _listed(plan.disk)),
        ("a step", _hours(plan.seconds_per_step), step),
        (
            "an epoch",
            _hours(plan.seconds_per_step * plan.steps_per_epoch),
            f"{plan.steps_per_epoch:,} steps",
        ),
        ("training", _hours(plan.seconds_per_step * plan.n_steps), f"{plan.n_steps:,} steps"),
    ]


def _listed(needs: dict[str, float]) -> str:
    return ", ".join(f"{name} {_gib(n)}" for name, n in needs.items())


def print_plan(plan: Plan, console: Console | None = None) -> None:
    """Print a plan to standard output, or to another console."""
    console = console or Console()
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title=f"{plan.n_gpus} x {plan.gpu}, {plan.precision}; data: {plan.data.source}",
        title_justify="left",
    )
    table.add_column("", no_wrap=True)
    table.add_column("needs", no_wrap=True, justify="right")
    table.add_column("of which", overflow="fold")
    for row in _rows(plan):
        table.add_row(*row)
    console.print(table)
    if not plan.fits:
        least = max(plan.memory.peak, plan.start)
        console.print(
            f"Does not fit: the least that was found needs {_gib(least)} of {_gib(plan.budget)}. "
            f"Plan with {', or '.join(('more or larger GPUs', *plan.remedies))}.",
            highlight=False,
        )
