"""Frozen networks: image encoders of target tokens, and feature extractors for evaluation."""

from mindeye2.encoders.clip import ClipTokens
from mindeye2.encoders.feature_extractors import (
    FEATURE_EXTRACTORS,
    load_feature_extractor,
    metric_features,
)

__all__ = ["FEATURE_EXTRACTORS", "ClipTokens", "load_feature_extractor", "metric_features"]
