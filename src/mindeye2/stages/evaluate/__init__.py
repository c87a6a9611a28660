"""Evaluate: reconstructions -> one score per image and metric, with intervals and chance."""

from mindeye2.stages.evaluate.run import evaluate
from mindeye2.stages.evaluate.settings import EvaluateSettings

__all__ = ["EvaluateSettings", "evaluate"]
