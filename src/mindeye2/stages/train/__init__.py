"""Train: prepared data to a run folder with weights, settings, step log and manifest."""

from mindeye2.stages.train.adapt import AdaptTraining
from mindeye2.stages.train.decoder_tuning import DecoderTuning
from mindeye2.stages.train.image_decoder import AutoencoderTraining, UnclipTraining
from mindeye2.stages.train.run import TASKS, TrainSettings, train
from mindeye2.stages.train.shared_subject import PriorTraining, SharedTraining
from mindeye2.stages.train.training_targets import TargetSettings
from mindeye2.stages.train.unclip_sdxl import SdxlUnclipTraining

__all__ = [
    "TASKS",
    "AdaptTraining",
    "AutoencoderTraining",
    "DecoderTuning",
    "PriorTraining",
    "SdxlUnclipTraining",
    "SharedTraining",
    "TargetSettings",
    "TrainSettings",
    "UnclipTraining",
    "train",
]
