"""Reconstruct: a model and a prepared data set -> tokens, pictures, captions; seeds per image."""

from mindeye2.stages.reconstruct.parts import Parts, RunParts
from mindeye2.stages.reconstruct.run import reconstruct
from mindeye2.stages.reconstruct.settings import ReconstructSettings

__all__ = ["Parts", "ReconstructSettings", "RunParts", "reconstruct"]
