"""Findings of the doctor, and the commands that fix what they report."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["LEVELS", "Finding", "Level", "first_few", "rerun_command", "restore_command"]

Level = Literal["error", "warning", "note", "ok"]

LEVELS: tuple[Level, ...] = ("error", "warning", "note", "ok")
"""Worst first; errors and warnings make the exit code 1."""


@dataclass(frozen=True)
class Finding:
    """Outcome of one check."""

    level: Level
    """One of `LEVELS`."""

    check: str
    """Name of the check, e.g. ``"trial order"``."""

    _: KW_ONLY

    where: str
    """Folder, file, subject or session."""

    found: str
    """What was found, with numbers."""

    fix: str = ""
    """What to do, with the command to run; empty if nothing is wrong."""

    @property
    def is_wrong(self) -> bool:
        """Return whether this is an error or a warning."""
        return self.level in ("error", "warning")


def first_few(values: Iterable[object], n: int = 5) -> str:
    """Format the first values of a list, e.g. ``"3, 5, 9, ... (12 in all)"``."""
    listed = list(values)
    text = ", ".join(map(str, listed[:n]))
    return text if len(listed) <= n else f"{text}, ... ({len(listed)} in all)"


def rerun_command(manifest: Mapping[str, Any], *, first: str = "", out: Path | str = "NEW") -> str:
    """Return the command that a manifest's stage was run with, after what has to be done `first`.

    Words in capitals stand for what the manifest does not record.
    """
    stage = str(manifest.get("stage", "prepare"))
    config = manifest.get("config", {})
    words = ["mindeye2", stage]
    if stage == "prepare":
        words.append(str(config.get("kind", "KIND")))
    if stage == "train":
        words += ["--recipe", str(config.get("recipe", "RECIPE"))]
    source = config.get("source")
    if source or stage != "prepare":
        words += ["--source", str(source or "DATA")]
    if config.get("init"):
        words += ["--init", str(config["init"])]
    command = shlex.join([*words, "--out", str(out)])
    return f"{first}, then: {command}" if first else command


def restore_command(manifest: Mapping[str, Any], folder: Path, name: str) -> str:
    """Return the commands that delete one damaged file of a folder and write it again."""
    parts = Path(name).parts
    if manifest.get("stage") != "prepare":
        # Only preparation can replace one file; other stages would mix old and new results.
        return f"rm -r {shlex.quote(str(folder))}; {rerun_command(manifest, out=folder)}"
    paths = [folder.joinpath(*parts[:2]) if parts[0] == "targets" else folder / name]
    if parts[0] in ("betas", "scaler", "voxels"):
        # Marks the subject as done.
        paths.append(folder / "state" / Path(name).stem)
    rerun = rerun_command(manifest, out=folder)
    return f"rm -rf {shlex.join(map(str, paths))}; {rerun} --resume"
