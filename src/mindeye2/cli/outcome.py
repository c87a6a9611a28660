"""The end of a command: exit code, one line for what the user can correct, error kept in --out.

Exit codes: 0 finished, 1 internal error (or findings of the doctor), 2 wrong input, 3 interrupted.
"""

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from mindeye2.core.errors import ArtifactError, InterruptedRun, MissingExtraError
from mindeye2.core.failures import recorded_failure

__all__ = ["print_summary", "report_outcome", "stop_on_sigterm"]

WRONG_INPUT = 2
INTERRUPTED = 3

_CORRECTABLE = (ValueError, ArtifactError, MissingExtraError, FloatingPointError, OSError)


def report_outcome(function: Callable[..., None]) -> Callable[..., None]:
    """Report errors of input as one line on stderr, and choose the exit code."""

    @functools.wraps(function)
    def run(**options: Any) -> None:  # noqa: ANN401 - whatever typer parsed
        name = function.__name__.rstrip("_")
        # The demo fills a folder per stage and keeps errors there.
        out = options.get("out") if name != "demo" else None
        try:
            with recorded_failure(out, command=name, resume=bool(options.get("resume"))):
                function(**options)
        except InterruptedRun as stop:
            print(f"mindeye2: {stop}", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from stop
        except KeyboardInterrupt as stop:
            again = " Go on with the same command and --resume." if "resume" in options else ""
            print(f"mindeye2: interrupted.{again}", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from stop
        except _CORRECTABLE as error:
            if options.get("debug"):
                raise
            # Messages of other libraries may have several lines.
            print("mindeye2:", *str(error).split(), file=sys.stderr)
            raise typer.Exit(WRONG_INPUT) from error

    return run


def print_summary(file: Path, *, source: Path | None = None, follow: bool = True) -> None:
    """Print a few lines about the folder of a file, and with `follow` the next command."""
    if os.environ.get("RANK", "0") != "0":  # of torchrun's processes one prints
        return
    from mindeye2.reporting.stage_summary import summarize_folder

    lines = summarize_folder(file.parent, source=source)
    print(*(lines if follow else lines[:-1]), sep="\n")


def stop_on_sigterm() -> None:
    """End on SIGTERM as on Ctrl-C; training, which saves its state first, has its own handler."""

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
