"""What the doctor says: how bad, where, what was found, and the command that mends it."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["LEVELS", "Finding", "Level", "first_few", "remake", "repair"]

Level = Literal["error", "warning", "note", "ok"]

LEVELS: dict[Level, str] = {
    "error": "results made from this are wrong, or cannot be made",
    "warning": "results may be wrong or inflated: look before you go on",
    "note": "worth knowing",
    "ok": "examined and found sound",
}
"""How bad a finding is, worst first; errors and warnings make the exit code 1."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was examined."""

    level: Level
    """A key of `LEVELS`."""

    check: str
    """What was examined, e.g. ``"trial order"``."""

    where: str
    """The folder, file, subject or session, as short as it is clear."""

    found: str
    """What was found, with numbers."""

    mend: str = ""
    """What to do, with the command to run; empty where nothing is wrong."""

    @property
    def is_wrong(self) -> bool:
        """Whether anything has to be mended."""
        return self.level in ("error", "warning")


def first_few(values: Iterable[object], n: int = 5) -> str:
    """Write the first few values of a list.

    Parameters
    ----------
    values
        What to list.
    n
        How many to write out.

    Returns
    -------
    str
        E.g. ``"3, 5, 9, ... (12 in all)"``.
    """
    listed = list(values)
    text = ", ".join(map(str, listed[:n]))
    return text if len(listed) <= n else f"{text}, ... ({len(listed)} in all)"


def remake(manifest: Mapping[str, Any], out: Path | str = "NEW") -> str:
    """Return the command that makes a folder again.

    Parameters
    ----------
    manifest
        What the folder's stage recorded.
    out
        The folder to fill.

    Returns
    -------
    str
        A shell command; capitals stand for what the manifest does not know.
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
    return shlex.join([*words, "--out", str(out)])


def repair(manifest: Mapping[str, Any], folder: Path, name: str) -> str:
    """Return the commands that make one damaged file of a folder again.

    Parameters
    ----------
    manifest
        What the folder's stage recorded.
    folder
        The folder.
    name
        The file, relative to `folder`.

    Returns
    -------
    str
        Shell commands.
    """
    parts = Path(name).parts
    if manifest.get("stage") != "prepare":
        # Only preparation can fill one gap; the other stages would take what is there for theirs.
        return f"rm -r {shlex.quote(str(folder))}; {remake(manifest, folder)}"
    whole = [folder.joinpath(*parts[:2]) if parts[0] == "targets" else folder / name]
    if parts[0] in ("betas", "scaler", "voxels"):
        # What says that this subject is done.
        whole.append(folder / "state" / Path(name).stem)
    return f"rm -rf {shlex.join(map(str, whole))}; {remake(manifest, folder)} --resume"
