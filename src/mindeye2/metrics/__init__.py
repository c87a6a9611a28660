"""Scores of reconstructions, one number per image; averages and intervals come last."""

from mindeye2.metrics.correlation import correlation_distance, row_correlation
from mindeye2.metrics.identification import two_way_identification
from mindeye2.metrics.pixels import pixcorr, ssim

__all__ = [
    "correlation_distance",
    "pixcorr",
    "row_correlation",
    "ssim",
    "two_way_identification",
]
