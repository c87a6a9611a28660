"""What each step gave: ``steps.jsonl``, the trackers of accelerate, and the line of progress."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from accelerate import tracking

from mindeye2.core.errors import MissingExtraError
from mindeye2.training.distributed import current_shard

__all__ = ["StepLog", "open_log"]

_NOT_TERMS = {"loss", "lr", "grad_norm", "step", "seconds", "rows"}


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
        """Describe the last step: loss, its terms, and samples per second."""
        last = self._last
        terms = ", ".join(
            f"{name} {value:.4g}"
            for name, value in last.items()
            if name not in _NOT_TERMS and not name.startswith("validation_")
        )
        rate = self._n_rows / max(last["seconds"], 1e-9)
        return f"loss {last['loss']:.4g}{terms and f' ({terms})'}, {rate:.3g} samples/s"


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

    Raises
    ------
    MissingExtraError
        If a tracker that is asked for is not installed.
    """
    names = _installed(trackers)
    if current_shard().rank:
        with Path(os.devnull).open("w") as nowhere:
            yield StepLog(nowhere, [])
        return
    path = folder / "steps.jsonl"
    if path.exists():
        lines = path.read_text().splitlines(keepends=True)[:step]
        path.write_text("".join(lines))
    opened = [_start(name, folder=folder, label=label) for name in names]
    with path.open("a") as log:
        try:
            yield StepLog(log, opened)
        finally:
            for tracker in opened:
                tracker.finish()


def _installed(names: Sequence[str] | None) -> Sequence[str]:
    available = {str(name) for name in tracking.get_available_trackers()}
    if names is None:
        return ["tensorboard"] if "tensorboard" in available else []
    for name in names:
        if name not in available:
            raise MissingExtraError(
                f"optimizer.trackers names {name!r}, which is not installed. Install it with: "
                f"pip install {name}, or leave it out of optimizer.trackers."
            )
    return names


def _start(name: str, *, folder: Path, label: str) -> Any:  # noqa: ANN401 - accelerate is untyped
    kind = tracking.LOGGER_TYPE_TO_CLASS[name]
    project = f"{folder.name} {label}"
    if kind.requires_logging_directory:
        tracker = kind(project, logging_dir=folder / name)
    else:
        tracker = kind(project)
    if hasattr(tracker, "start"):  # accelerate before 1.8 starts it at once
        tracker.start()
    return tracker
