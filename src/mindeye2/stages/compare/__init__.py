"""Compare: scores of several runs -> arms with intervals, paired tests, curves, tables, a page."""

from mindeye2.stages.compare.compare_settings import CompareSettings
from mindeye2.stages.compare.run import compare

__all__ = ["CompareSettings", "compare"]
