"""Versions against the package's requirements, GPU, memory and disk."""

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
from mindeye2.doctor.finding import Finding

__all__ = ["check_environment"]

CHECK = "environment"

DEMO_MEMORY_GIB = 6.0
"""Memory that the demo needs at most."""

FREE_DISK_GIB = 2.0
"""With less, a stage is likely to stop half way."""

EXTRAS = ("demo", "data", "sdxl")
"""Extras for users; `test` is for developers."""


def check_environment(folder: Path | None = None) -> list[Finding]:
    """Check versions, devices, memory, and the disk of `folder` (default: the current one)."""
    return [_versions(), *_missing_extras(), _gpu(), _memory(), _disk(folder or Path())]


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
    if not wrong:
        return Finding("ok", CHECK, where="versions", found=found)
    found = f"{found}; the package needs other versions: {', '.join(wrong)}"
    fix = "pip install mindeye2"
    return Finding("error", CHECK, where="versions", found=found, fix=fix)


def _missing_extras() -> list[Finding]:
    """Note each incomplete extra: most users need one or two of them."""
    notes = []
    for extra in EXTRAS:
        missing = [r.name for r in _requirements(extra) if _installed(r.name) is None]
        if missing:
            found = f"not installed: {', '.join(missing)}"
            fix = f"if needed: pip install 'mindeye2[{extra}]'"
            notes.append(Finding("note", CHECK, where=f"extra {extra!r}", found=found, fix=fix))
    return notes


def _requirements(extra: str) -> list[Requirement]:
    """Return the requirements of the package or of one of its extras."""
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
        found = f"{', '.join(cards)}; CUDA {torch.version.cuda}"
        return Finding("ok", CHECK, where="GPU", found=found)
    if Path("/dev/nvidia0").exists():
        found = f"there is an NVIDIA GPU, but torch {torch.__version__} cannot use it"
        fix = "install a CUDA build of torch that fits the driver (see 'nvidia-smi'): pytorch.org"
        return Finding("warning", CHECK, where="GPU", found=found, fix=fix)
    found = "none: laptop sizes run on the CPU, the published size needs a GPU"
    return Finding("note", CHECK, where="GPU", found=found)


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = f"{total:.1f} GiB of memory, {available_cores()} cores"
    if total >= DEMO_MEMORY_GIB:
        return Finding("ok", CHECK, where="memory", found=found)
    found = f"{found}: the demo needs up to {DEMO_MEMORY_GIB:.0f} GiB"
    fix = "mindeye2 demo --set data.n_train=600, or a larger machine"
    return Finding("warning", CHECK, where="memory", found=found, fix=fix)


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 2**30
    found = f"{free:.1f} GiB free on the disk of {folder.resolve().name or folder}"
    if free >= FREE_DISK_GIB:
        return Finding("ok", CHECK, where="disk", found=found)
    fix = f"delete files, or give --out on another disk: du -sh {folder}/* | sort -h"
    return Finding("warning", CHECK, where="disk", found=found, fix=fix)
