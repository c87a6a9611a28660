"""Train: prepared data -> a run folder with weights, settings, the log of steps and a manifest."""

from mindeye2.stages.train.adapt import AdaptTraining
from mindeye2.stages.train.picture_tuning import PictureTuning
from mindeye2.stages.train.pictures import AutoencoderTraining, UnclipTraining
from mindeye2.stages.train.run import TASKS, TrainSettings, train
from mindeye2.stages.train.shared import PriorTraining, SharedTraining
from mindeye2.stages.train.unclip_sdxl import SdxlUnclipTraining

__all__ = [
    "TASKS",
    "AdaptTraining",
    "AutoencoderTraining",
    "PictureTuning",
    "PriorTraining",
    "SdxlUnclipTraining",
    "SharedTraining",
    "TrainSettings",
    "UnclipTraining",
    "train",
]
