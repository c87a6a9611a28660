"""Frozen networks: image encoders whose tokens are decoded, and judges of pictures."""

from mindeye2.encoders.clip import ClipTokens
from mindeye2.encoders.judges import JUDGES, load_judge, metric_features

__all__ = ["JUDGES", "ClipTokens", "load_judge", "metric_features"]
