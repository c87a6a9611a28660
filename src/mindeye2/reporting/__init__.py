"""Self-contained HTML page of stimuli, reconstructions and scores."""

from mindeye2.reporting.content import (
    Arm,
    BrainSource,
    Comparison,
    Curve,
    CurvePanel,
    Difference,
    GalleryItem,
    ImageScore,
    Note,
    ReportContent,
    RoiCeiling,
    ScoreRow,
    StageCost,
)
from mindeye2.reporting.notes import default_notes
from mindeye2.reporting.page import render_page

__all__ = [
    "Arm",
    "BrainSource",
    "Comparison",
    "Curve",
    "CurvePanel",
    "Difference",
    "GalleryItem",
    "ImageScore",
    "Note",
    "ReportContent",
    "RoiCeiling",
    "ScoreRow",
    "StageCost",
    "default_notes",
    "render_page",
]
