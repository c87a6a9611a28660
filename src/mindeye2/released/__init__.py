"""Everything about the published files: names, sizes, importers, quirks."""

from mindeye2.released.mindeye import load_mindeye
from mindeye2.released.unclip import load_unclip

__all__ = ["load_mindeye", "load_unclip"]
