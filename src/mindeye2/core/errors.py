"""Error types, and checks whose messages contain the fix."""

import difflib
import importlib
from collections.abc import Collection
from types import ModuleType

from mindeye2.core.torchvision_operators import (
    IMPORT_TORCHVISION,
    declare_torchvision_operators,
)

__all__ = [
    "ArtifactError",
    "FolderInUseError",
    "InterruptedRun",
    "MissingExtraError",
    "check_choice",
    "require",
]


class ArtifactError(Exception):
    """An input folder or file is missing, unfinished, damaged or of another kind."""


class FolderInUseError(ArtifactError):
    """Another process is filling the output folder."""


class InterruptedRun(Exception):  # noqa: N818 - not an error
    """Work stopped by Ctrl-C or SIGTERM, with its state saved."""


class MissingExtraError(ImportError):
    """An optional dependency is not installed."""


def check_choice(name: str, value: str, allowed: Collection[str]) -> str:
    """Return `value` if it is one of `allowed`.

    `name` is what the user wrote, e.g. ``"--recipe"``. Raises ``ValueError`` otherwise, with the
    accepted values and the nearest one.
    """
    if value in allowed:
        return value
    near = difflib.get_close_matches(value, allowed, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name} must be one of {sorted(allowed)}, got {value!r}.{hint}")


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency, or raise an error with the command that installs it.

    Parameters
    ----------
    module
        Import name, e.g. ``"diffusers"``.
    extra
        The extra of this package that installs it.
    purpose
        The caller's use of it, as the start of a sentence.

    Returns
    -------
    ModuleType
        The imported module.

    Raises
    ------
    MissingExtraError
        If the module is not installed.
    ModuleNotFoundError
        If it is installed, but one of its own imports is missing.
    """
    package = module.partition(".")[0]
    if package in IMPORT_TORCHVISION:
        declare_torchvision_operators()
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise  # installed but broken
        raise MissingExtraError(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'mindeye2[{extra}]'"
        ) from error
