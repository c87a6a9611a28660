"""Frozen networks: image encoders whose tokens are decoded, and judges of pictures."""

from mindeye2.encoders.judges import JUDGES, load_judge, metric_features

__all__ = ["JUDGES", "load_judge", "metric_features"]
