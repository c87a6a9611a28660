"""The environment: versions against what the package asks for, GPU, memory, disk."""

import importlib.metadata
import os
import platform
import re
import shutil
from pathlib import Path

import torch
from packaging.requirements import Requirement

from mindeye2.core import __version__
from mindeye2.core.runtime import available_cores
from mindeye2.doctor.finding import Finding, Level

__all__ = ["check_environment"]

CHECK = "environment"

DEMO_MEMORY_GIB = 6.0
"""What the demo is promised to fit in."""

FREE_DISK_GIB = 2.0
"""Less than this and a stage is likely to stop half way."""

EXTRAS = ("demo", "data", "sdxl")
"""Extras that a user may want; `test` is for those who change the code."""


def check_environment(folder: Path | None = None) -> list[Finding]:
    """Look at what the package runs on.

    Parameters
    ----------
    folder
        Where results will go: its disk is looked at; the current folder by default.

    Returns
    -------
    list of Finding
        Versions, devices, memory and disk.
    """
    return [_versions(), *_missing(), _gpu(), _memory(), _disk(folder or Path())]


def _versions() -> Finding:
    found = (
        f"mindeye2 {__version__}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"{platform.system()} {platform.machine()}"
    )
    wrong = [
        f"{r.name} {_installed(r.name) or 'is missing'} (accepted: {r.specifier})"
        for r in _requirements("")
        if not r.specifier.contains(_installed(r.name) or "0.dev0", prereleases=True)
    ]
    if wrong:
        found = f"{found}; not as the package needs them: {', '.join(wrong)}"
        mend = "pip install -c constraints.txt -e ."
        return _finding("error", "versions", found, mend=mend)
    return _finding("ok", "versions", found)


def _missing() -> list[Finding]:
    """One note for each extra that is not whole: most people need one or two of them."""
    notes = []
    for extra in EXTRAS:
        lacking = [r.name for r in _requirements(extra) if _installed(r.name) is None]
        if lacking:
            found = f"not installed: {', '.join(lacking)}"
            mend = f"where it is needed: pip install -c constraints.txt 'mindeye2[{extra}]'"
            notes.append(_finding("note", f"extra {extra!r}", found, mend=mend))
    return notes


def _requirements(extra: str) -> list[Requirement]:
    """Return what the package, or one of its extras, asks for."""
    try:
        listed = [Requirement(text) for text in importlib.metadata.requires("mindeye2") or []]
    except importlib.metadata.PackageNotFoundError:
        return []  # used from its folder, without being installed
    if not extra:
        return [r for r in listed if r.marker is None or "extra" not in str(r.marker)]
    wanted = re.compile(rf"""extra == ['"]{extra}['"]""")
    return [r for r in listed if r.marker is not None and wanted.search(str(r.marker))]


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gpu() -> Finding:
    if torch.cuda.is_available():
        cards = [
            f"{torch.cuda.get_device_name(i)} "
            f"({torch.cuda.get_device_properties(i).total_memory / 2**30:.0f} GiB)"
            for i in range(torch.cuda.device_count())
        ]
        return _finding("ok", "GPU", f"{', '.join(cards)}; CUDA {torch.version.cuda}")
    if Path("/dev/nvidia0").exists():
        found = f"there is an NVIDIA card, but torch {torch.__version__} does not see it"
        mend = "install a CUDA build of torch that fits the driver (see 'nvidia-smi'): pytorch.org"
        return _finding("warning", "GPU", found, mend=mend)
    found = "none: laptop sizes run on the CPU, the published size needs a GPU"
    return _finding("note", "GPU", found)


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = f"{total:.1f} GiB of memory, {available_cores()} cores"
    if total < DEMO_MEMORY_GIB:
        found = f"{found}: the demo needs up to {DEMO_MEMORY_GIB:.0f} GiB"
        mend = "mindeye2 demo --set data.n_train=600, or a larger machine"
        return _finding("warning", "memory", found, mend=mend)
    return _finding("ok", "memory", found)


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 2**30
    found = f"{free:.1f} GiB free beside {folder.resolve().name or folder}"
    if free < FREE_DISK_GIB:
        mend = f"make room, or give --out on another disk: du -sh {folder}/* | sort -h"
        return _finding("warning", "disk", found, mend=mend)
    return _finding("ok", "disk", found)


def _finding(level: Level, where: str, found: str, *, mend: str = "") -> Finding:
    return Finding(level=level, check=CHECK, where=where, found=found, mend=mend)
