"""Is there enough disk and memory? Asked before starting, not found out half way."""

import os
import shutil
from pathlib import Path

from mindeye2.core.errors import ArtifactError

__all__ = ["check_disk", "check_memory", "free_disk", "readable"]


def readable(n_bytes: float) -> str:
    """Return a size as people write it.

    Parameters
    ----------
    n_bytes
        Bytes.

    Returns
    -------
    str
        E.g. ``"18.0 GB"``; a GB has 1e9 bytes.
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes:.0f} bytes"


def free_disk(folder: Path) -> int:
    """Return the free bytes of the disk that a folder is on, or would be on.

    Parameters
    ----------
    folder
        The folder; need not exist.

    Returns
    -------
    int
        Bytes.
    """
    folder = Path(folder).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_disk(folder: Path, needed: int, *, what: str) -> None:
    """Refuse to start where the disk is too full.

    Parameters
    ----------
    folder
        Where something will be written.
    needed
        Bytes.
    what
        What will be written, as the start of a sentence.

    Raises
    ------
    ArtifactError
        If less is free.
    """
    free = free_disk(folder)
    if free < needed:
        raise ArtifactError(
            f"{what} needs {readable(needed)} on the disk of {folder}, and {readable(free)} are "
            "free. Make room, or give another folder; nothing was written."
        )


def check_memory(needed: int, *, what: str) -> None:
    """Refuse to start where memory is too small.

    Parameters
    ----------
    needed
        Bytes.
    what
        What will be held, as the start of a sentence.

    Raises
    ------
    ArtifactError
        If less is available. Where the system does not say, nothing is raised.
    """
    available = _available_memory()
    if available is not None and available < needed:
        raise ArtifactError(
            f"{what} needs {readable(needed)} of memory, and {readable(available)} are available. "
            "Close other programs or use a larger machine; nothing was written."
        )


def _available_memory() -> int | None:
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
