"""The one place that imports torchvision.

The package registry's torchvision is compiled against a CUDA build of PyTorch. Beside a CPU-only
PyTorch its compiled operators do not load, and then ``import torchvision`` itself fails, because
it registers shapes for operators that nobody declared. Declaring those two operators is enough
for everything but calling them: models, transforms, timm and open_clip work.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import torch

from mindeye2.core.errors import require

__all__ = ["load_torchvision"]

# What `torchvision/_meta_registrations.py` (0.28) expects to exist before it is imported.
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# A library's declarations vanish with the Python object, so it lives as long as the process.
_declared: list[torch.library.Library] = []


def load_torchvision(*, purpose: str = "This step", extra: str = "demo") -> ModuleType:
    """Import torchvision, mending it where its compiled operators do not load.

    Call it before importing anything that imports torchvision by itself (timm, open_clip, GIT in
    transformers).

    Parameters
    ----------
    purpose
        What the caller needs it for, as the start of a sentence.
    extra
        The extra of this package that installs it.

    Returns
    -------
    ModuleType
        torchvision.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    if "torchvision" not in sys.modules and not _operators_load():
        _declare_operators()
    return require("torchvision", extra=extra, purpose=purpose)


def _operators_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return True  # not installed: `require` says so better
    for library in Path(spec.submodule_search_locations[0]).glob("_C.*"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")


def _declare_operators() -> None:
    missing = [schema for name, schema in _SCHEMAS.items() if not _is_declared(name)]
    if not missing:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in missing:
        library.define(schema)
    _declared.append(library)


def _is_declared(name: str) -> bool:
    return hasattr(torch.ops.torchvision, name)
