"""Everything about the published files: names, sizes, importers, quirks."""

from mindeye2.released.mindeye import load_mindeye

__all__ = ["load_mindeye"]
