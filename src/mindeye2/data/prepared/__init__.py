"""The prepared data set: the folder that `prepare` writes and other stages read."""

from mindeye2.data.prepared.consistency import SPLITS
from mindeye2.data.prepared.reader import Prepared, open_prepared

__all__ = ["SPLITS", "Prepared", "open_prepared"]
