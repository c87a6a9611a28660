"""The error of an unfinished folder, kept in it for the command that reads the folder next."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from mindeye2.core.errors import FolderInUseError, InterruptedRun

__all__ = ["FAILURE", "describe_failure", "forget_failure", "names_in", "recorded_failure"]

FAILURE = "failure.json"
"""File name of the error; the next attempt to fill the folder removes it."""

_STARTED = {"config.yaml", "state", FAILURE}


@contextlib.contextmanager
def recorded_failure(out: Path | None, *, command: str, resume: bool = False) -> Iterator[None]:
    """Record an error of the block in `out`, unless another command fills that folder.

    `command` is the stage, e.g. ``"evaluate"``; `resume` allows a started folder.
    """
    own = out is not None and _may_fill(Path(out), resume=resume)
    try:
        yield
    except FolderInUseError:
        raise  # the folder is another command's
    except BaseException as error:
        first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes one writes
        if own and out is not None and first and _is_unfinished(Path(out)):
            interrupted = isinstance(error, InterruptedRun | KeyboardInterrupt)
            text = " ".join(str(error).split()) or type(error).__name__
            entry = {"command": command, "error": text, "interrupted": interrupted}
            with contextlib.suppress(OSError):  # e.g. a full disk, which the error is about
                (Path(out) / FAILURE).write_text(json.dumps(entry) + "\n", encoding="utf-8")
        raise


def names_in(folder: Path) -> set[str]:
    """Return the names in a folder, without hidden ones such as its lock."""
    return {p.name for p in folder.iterdir() if not p.name.startswith(".")}


def _may_fill(out: Path, *, resume: bool) -> bool:
    names = names_in(out) if out.is_dir() else set()
    return not out.exists() or names <= _STARTED or (resume and bool(names & _STARTED))


def _is_unfinished(out: Path) -> bool:
    return out.is_dir() and not (out / "manifest.json").exists()


def forget_failure(folder: Path) -> None:
    """Remove the error of an earlier attempt."""
    (folder / FAILURE).unlink(missing_ok=True)


def describe_failure(folder: Path) -> str | None:
    """Return what stopped the command that filled a folder and what to do, or None."""
    try:
        entry = json.loads((folder / FAILURE).read_text(encoding="utf-8"))
        command, error, interrupted = entry["command"], entry["error"], entry["interrupted"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if interrupted:
        return (
            f"'mindeye2 {command}' was interrupted there. Run it again with the same options and "
            "--resume."
        )
    return f"'mindeye2 {command}' failed there: {error} Correct that and run it again."
