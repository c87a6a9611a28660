"""Evaluate: reconstructions -> one score per image and metric, with intervals and chance."""

from mindeye2.stages.evaluate.evaluate_settings import EvaluateSettings
from mindeye2.stages.evaluate.run import evaluate

__all__ = ["EvaluateSettings", "evaluate"]
