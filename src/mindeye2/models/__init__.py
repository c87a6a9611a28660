"""Trained networks: the MindEye2 model, its heads and its diffusion prior."""

from mindeye2.models.decoder import MindEye, MindEyeOutput, build_mindeye
from mindeye2.models.model_settings import LowLevelSettings, ModelSettings, PriorSettings
from mindeye2.models.prior import DiffusionPrior
from mindeye2.models.ridge import SubjectRidge

__all__ = [
    "DiffusionPrior",
    "LowLevelSettings",
    "MindEye",
    "MindEyeOutput",
    "ModelSettings",
    "PriorSettings",
    "SubjectRidge",
    "build_mindeye",
]
