"""Frozen networks: image encoders whose tokens are decoded, and judges of pictures."""

from mindeye2.encoders.clip import ClipTokens
from mindeye2.encoders.feature_extractors import (
    FEATURE_EXTRACTORS,
    load_feature_extractor,
    metric_features,
)

__all__ = ["FEATURE_EXTRACTORS", "ClipTokens", "load_feature_extractor", "metric_features"]
