"""Decode fMRI responses to images, captions and retrieval."""

from typing import TYPE_CHECKING

from mindeye2.core import __version__

if TYPE_CHECKING:
    from mindeye2.api import Decoded, Decoder, Retrieved

__all__ = ["Decoded", "Decoder", "Retrieved", "__version__"]


def __getattr__(name: str) -> object:
    # PyTorch is imported when it is used: `import mindeye2` and `mindeye2 --help` stay quick.
    if name in __all__:
        from mindeye2 import api

        return getattr(api, name)
    raise AttributeError(f"module 'mindeye2' has no attribute {name!r}; it has {__all__}.")
