"""Self-contained HTML page of stimuli, reconstructions and scores."""

from mindeye2.reporting.analyses import read_analyses
from mindeye2.reporting.battery_section import battery_section
from mindeye2.reporting.content import (
    Arm,
    Battery,
    Column,
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
    Table,
    TableRow,
)
from mindeye2.reporting.first_screen import compare_arms, describe_training, headline_sentence
from mindeye2.reporting.image_check import check_test_images
from mindeye2.reporting.learning import learning_panels
from mindeye2.reporting.notes import default_notes
from mindeye2.reporting.page import render_page
from mindeye2.reporting.published import paper_tables, result_tables
from mindeye2.reporting.retrieval_section import gallery_warnings, retrieval_table
from mindeye2.reporting.run_gallery import RunGallery, caption_note
from mindeye2.reporting.tables import (
    as_csv,
    as_latex,
    as_markdown,
    score_row,
)

__all__ = [
    "Arm",
    "Battery",
    "Column",
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
    "RunGallery",
    "ScoreRow",
    "StageCost",
    "Table",
    "TableRow",
    "as_csv",
    "as_latex",
    "as_markdown",
    "battery_section",
    "caption_note",
    "check_test_images",
    "compare_arms",
    "default_notes",
    "describe_training",
    "gallery_warnings",
    "headline_sentence",
    "learning_panels",
    "paper_tables",
    "read_analyses",
    "render_page",
    "result_tables",
    "retrieval_table",
    "score_row",
]
