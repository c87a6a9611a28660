"""Lock of an output folder, so that two commands never fill one folder at the same time.

The operating system holds the lock, and releases it however its process ends. A file that a killed
process left behind thus locks nothing.
"""

import atexit
import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from mindeye2.core.errors import FolderInUseError

__all__ = ["lock_folder", "unlock_folder"]

LOCK = ".lock"
"""File name of the lock, which tells process, machine and time."""

_held: dict[Path, IO[str]] = {}
"""Open lock files of this process: closing one releases its lock."""


def lock_folder(folder: Path) -> None:
    """Lock a folder until `unlock_folder` or the end of this process, which may lock it again.

    On a file system without locks the folder is not locked. Raises ``FolderInUseError`` if another
    process has locked it.
    """
    path = folder.resolve() / LOCK
    if path in _held and _is_at(_held[path], path):
        return
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError:  # nobody can fill a folder that is read-only
        return
    try:
        # A record lock, unlike flock's, is not inherited by a fork, and holds on NFS.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise FolderInUseError(
            f"{folder} is being filled by {_describe(file)}. Wait for it, end it, or give another "
            "--out."
        ) from error
    except OSError:
        file.close()
        return
    if not _is_at(file, path):  # its last holder finished, and removed it, in between
        file.close()
        lock_folder(folder)
        return
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    file.truncate(0)
    json.dump({"process": os.getpid(), "machine": socket.gethostname(), "since": now}, file)
    file.flush()
    _held[path] = file


def unlock_folder(folder: Path) -> None:
    """Release the lock of a folder, if this process holds it."""
    _release(folder.resolve() / LOCK)


def _release(path: Path) -> None:
    file = _held.pop(path, None)
    if file is None:
        return
    if _is_at(file, path):
        path.unlink()
    file.close()


@atexit.register
def _release_all() -> None:
    for path in list(_held):
        _release(path)


def _is_at(file: IO[str], path: Path) -> bool:
    """Return whether an open file is the one at a path, not one that was removed from there."""
    # By its name: opening and closing it here would release the lock.
    return path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())


def _describe(file: IO[str]) -> str:
    """Say who holds the lock, and close its file."""
    with file:
        file.seek(0)
        text = file.read()
    try:
        holder = json.loads(text)
        return f"process {holder['process']} on {holder['machine']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):  # locked an instant ago
        return "another process"
