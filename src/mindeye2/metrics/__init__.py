"""Scores of reconstructions, one number per image; averages and intervals come last."""

from mindeye2.metrics.correlation import correlation_distance, row_correlation
from mindeye2.metrics.identification import two_way_identification
from mindeye2.metrics.pixels import pixcorr, ssim
from mindeye2.metrics.ranking import (
    cosine_similarity,
    csls,
    hubness,
    match_ranks,
    top_k_accuracy,
    top_k_hits,
)
from mindeye2.metrics.stats import (
    CHANCE,
    Difference,
    Interval,
    bootstrap_interval,
    mismatched_level,
    paired_difference,
)
from mindeye2.metrics.text import (
    content_word_overlap,
    object_recall,
    rouge_l,
    sentence_similarity,
)

__all__ = [
    "CHANCE",
    "Difference",
    "Interval",
    "bootstrap_interval",
    "content_word_overlap",
    "correlation_distance",
    "cosine_similarity",
    "csls",
    "hubness",
    "match_ranks",
    "mismatched_level",
    "object_recall",
    "paired_difference",
    "pixcorr",
    "rouge_l",
    "row_correlation",
    "sentence_similarity",
    "ssim",
    "top_k_accuracy",
    "top_k_hits",
    "two_way_identification",
]
