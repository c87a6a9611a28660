"""Steps of several stages that analyses run, because stages do not import each other."""

from mindeye2.released import open_brain_decoder
from mindeye2.stages.analyse import Steps

__all__ = ["STEPS"]

STEPS = Steps(load_run=open_brain_decoder)
"""Steps that ``mindeye2 analyse`` gives to the stage."""
