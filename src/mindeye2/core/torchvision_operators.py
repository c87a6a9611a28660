"""Make ``import torchvision`` work beside a CPU-only PyTorch.

The package registry's torchvision is compiled against a CUDA build of PyTorch. Beside a CPU-only
PyTorch its compiled operators do not load, and then ``import torchvision`` itself fails, because
it registers fake kernels for operators that nobody declared. Declaring those two operators is
enough for everything but calling them: models, transforms, timm and open_clip work.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

__all__ = ["IMPORT_TORCHVISION", "declare_torchvision_operators"]

IMPORT_TORCHVISION = frozenset(
    {"diffusers", "open_clip", "peft", "timm", "torchvision", "transformers"}
)
"""Packages that import torchvision."""

# What `torchvision/_meta_registrations.py` (0.28) expects to exist before it is imported.
_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

# A library's declarations vanish with the Python object, so it lives as long as the process.
_declared: list[Any] = []


def declare_torchvision_operators() -> None:
    """Declare torchvision's operators where its compiled library does not load.

    `mindeye2.core.errors.require` calls this before it imports a package of
    `IMPORT_TORCHVISION`.
    """
    if "torchvision" in sys.modules or _operators_load():
        return
    torch = importlib.import_module("torch")
    missing = [s for name, s in _SCHEMAS.items() if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in missing:
            library.define(schema)
        _declared.append(library)


def _operators_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return True  # not installed: `require` has the better message
    torch = importlib.import_module("torch")
    for library in Path(spec.submodule_search_locations[0]).glob("_C.*"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")
