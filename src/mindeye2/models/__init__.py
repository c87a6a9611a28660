"""Everything with weights that is trained here: the decoder, its parts and its prior."""

from mindeye2.models.decoder import MindEye, MindEyeOutput, build_mindeye
from mindeye2.models.prior import DiffusionPrior
from mindeye2.models.ridge import SubjectRidge
from mindeye2.models.settings import LowLevelSettings, ModelSettings, PriorSettings

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
