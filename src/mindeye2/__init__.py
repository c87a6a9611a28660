"""Decode fMRI responses to images, captions and retrieval."""

import importlib
from typing import TYPE_CHECKING

from mindeye2.core import __version__

if TYPE_CHECKING:
    from mindeye2.api import Decoded, Decoder, Retrieved
    from mindeye2.data.prepared.responses import Responses, load

__all__ = ["Decoded", "Decoder", "Responses", "Retrieved", "__version__", "load"]

_MODULES = {
    "Decoded": "mindeye2.api",
    "Decoder": "mindeye2.api",
    "Retrieved": "mindeye2.api",
    "Responses": "mindeye2.data.prepared.responses",
    "load": "mindeye2.data.prepared.responses",
}


def __getattr__(name: str) -> object:
    # PyTorch is imported when it is used: `import mindeye2` and `mindeye2 --help` stay quick.
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'mindeye2' has no attribute {name!r}; it has {__all__}.")


def __dir__() -> list[str]:
    """Return the public names, for tab completion; those above are not imported yet."""
    return __all__
