"""Metrics of reconstructions: one score per image; averages and intervals come last."""

from mindeye2.metrics.correlation import correlation_distance, row_correlation
from mindeye2.metrics.identification import TwoWayIdentification, two_way_identification
from mindeye2.metrics.pixels import pixcorr, ssim
from mindeye2.metrics.ranking import (
    match_ranks,
    top_k_accuracy,
    top_k_hits,
    two_way_hits,
)
from mindeye2.metrics.stats import (
    bootstrap_interval,
    paired_difference,
    proportion_interval,
)
from mindeye2.metrics.text import (
    content_word_overlap,
    meteor,
    rouge,
    sentence_similarity,
)
from mindeye2.metrics.umap_distance import umap_distance

__all__ = [
    "TwoWayIdentification",
    "bootstrap_interval",
    "content_word_overlap",
    "correlation_distance",
    "match_ranks",
    "meteor",
    "paired_difference",
    "pixcorr",
    "proportion_interval",
    "rouge",
    "row_correlation",
    "sentence_similarity",
    "ssim",
    "top_k_accuracy",
    "top_k_hits",
    "two_way_hits",
    "two_way_identification",
    "umap_distance",
]
