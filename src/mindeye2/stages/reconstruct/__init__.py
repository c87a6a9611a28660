"""Reconstruct stage: from a model and a prepared data set to tokens, images and captions."""

from mindeye2.stages.reconstruct.pipeline import Pipeline, RunPipeline
from mindeye2.stages.reconstruct.reconstruct_settings import ReconstructSettings
from mindeye2.stages.reconstruct.run import reconstruct

__all__ = ["Pipeline", "ReconstructSettings", "RunPipeline", "reconstruct"]
