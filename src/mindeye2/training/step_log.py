"""What each step gave: ``steps.jsonl``, the trackers of accelerate, and the line of progress."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from accelerate import tracking

from mindeye2.core.errors import MissingExtraError
from mindeye2.core.settings import Settings
from mindeye2.training.distributed import current_shard
from mindeye2.training.optimizer import OptimizerSettings

__all__ = ["StepLog", "check_trackers", "open_log"]

_NOT_TERMS = {"loss", "lr", "grad_norm", "step", "seconds", "mfu"}


class StepLog:
    """Log of the steps of one training, on the first rank.

    Parameters
    ----------
    lines
        Gets a line of JSON a step.
    trackers
        Get the same numbers.
    """

    def __init__(self, lines: TextIO, trackers: Sequence[Any]) -> None:
        self._lines = lines
        self._trackers = trackers
        self._last: Mapping[str, float] = {}
        self._n_rows = 0

    def write(self, entry: Mapping[str, float], *, n_rows: int) -> None:
        """Log one step of so many rows of all ranks."""
        self._last, self._n_rows = entry, n_rows
        self._lines.write(json.dumps(entry) + "\n")
        for tracker in self._trackers:
            values = {name: value for name, value in entry.items() if name != "step"}
            tracker.log(values, step=int(entry["step"]))

    def flush(self) -> None:
        """Write what is buffered."""
        self._lines.flush()

    def note(self) -> str:
        """Describe the last step: loss, its terms, samples per second, and MFU where known."""
        last = self._last
        terms = ", ".join(
            f"{name} {value:.4g}"
            for name, value in last.items()
            if name not in _NOT_TERMS and not name.startswith("validation_")
        )
        rate = self._n_rows / max(last["seconds"], 1e-9)
        mfu = f", MFU {100 * last['mfu']:.0f} %" if "mfu" in last else ""
        return f"loss {last['loss']:.4g}{terms and f' ({terms})'}, {rate:.3g} samples/s{mfu}"


@contextmanager
def open_log(
    folder: Path, step: int, *, trackers: Sequence[str] | None, label: str
) -> Iterator[StepLog]:
    """Open the log of a training, without the lines of steps that will be taken again.

    Parameters
    ----------
    folder
        Run folder.
    step
        The first step to be taken.
    trackers
        Names; None is TensorBoard where it is installed.
    label
        Name of the training in the trackers.

    Yields
    ------
    StepLog
        The log.
    """
    if trackers is None:
        trackers = [name for name in ("tensorboard",) if name in _available()]
    if current_shard().rank:
        with Path(os.devnull).open("w") as nowhere:
            yield StepLog(nowhere, [])
        return
    path = folder / "steps.jsonl"
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)[:step]
        path.write_text("".join(lines))
    opened = [_start(name, step, folder=folder, label=label) for name in trackers]
    with path.open("a") as log:
        try:
            yield StepLog(log, opened)
        finally:
            for tracker in opened:
                tracker.finish()


def check_trackers(settings: Settings, *, within: str = "") -> None:
    """Refuse trackers that are not installed, wherever settings name them.

    Parameters
    ----------
    settings
        Settings of a training.
    within
        Name of the settings that these are a part of, with a final dot.

    Raises
    ------
    MissingExtraError
        If a tracker that is asked for is not installed.
    """
    for field, value in settings:
        if isinstance(value, Settings):
            check_trackers(value, within=f"{within}{field}.")
    if not isinstance(settings, OptimizerSettings):
        return
    for name in settings.trackers or ():
        if name not in _available():
            installed = sorted(_available() & {"tensorboard", "wandb", "mlflow"})
            raise MissingExtraError(
                f"{within}trackers names {name!r}, which is not installed (installed: "
                f"{', '.join(installed) or 'none'}). Install it with: pip install {name}, or "
                f"leave it out of {within}trackers."
            )


def _available() -> set[str]:
    return {str(name) for name in tracking.get_available_trackers()}


def _start(name: str, step: int, *, folder: Path, label: str) -> Any:  # noqa: ANN401 - untyped
    kind = tracking.LOGGER_TYPE_TO_CLASS[name]
    project = f"{folder.name} {label}"
    if name == "tensorboard":
        # Steps that a stopped run logged and that are taken again are not shown twice.
        tracker = kind(project, logging_dir=folder / name, purge_step=step or None)
    else:
        tracker = kind(project)
    if hasattr(tracker, "start"):  # accelerate before 1.8 starts it at once
        tracker.start()
    return tracker
