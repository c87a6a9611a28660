"""Self-contained HTML page of stimuli, reconstructions and scores."""

from mindeye2.reporting.content import (
    Arm,
    Comparison,
    Curve,
    CurvePanel,
    Difference,
    GalleryItem,
    ImageScore,
    Note,
    ReportContent,
    ResponseSource,
    RoiCeiling,
    ScoreRow,
    StageCost,
)
from mindeye2.reporting.learning import learning_panels
from mindeye2.reporting.notes import default_notes
from mindeye2.reporting.page import render_page

__all__ = [
    "Arm",
    "Comparison",
    "Curve",
    "CurvePanel",
    "Difference",
    "GalleryItem",
    "ImageScore",
    "Note",
    "ReportContent",
    "ResponseSource",
    "RoiCeiling",
    "ScoreRow",
    "StageCost",
    "default_notes",
    "learning_panels",
    "render_page",
]
