"""Content of a report as plain frozen values, without HTML.

Everything but the title, the summary and the source of the brain data is optional. What is left
out is left out of the page, heading included. Numbers are given as the metric defines them
(fractions in [0, 1], never percent); `percent` sets how they are written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import UInt8

__all__ = [
    "AnalysisSummary",
    "Arm",
    "Battery",
    "Check",
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
    "RgbImage",
    "RoiCeiling",
    "ScoreRow",
    "StageCost",
    "Table",
    "TableRow",
]

# Images of one item differ in size, so that only the colour axis has a name here.
RgbImage: TypeAlias = UInt8[np.ndarray, "... rgb"]
"""RGB, (height, width, 3), uint8 in [0, 255]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResponseSource:
    """Origin of the brain responses; the badge at the top of the page."""

    label: str
    """E.g. ``"Simulated subjects"`` or ``"Real fMRI: Kriegeskorte 92"``."""
    simulated: bool
    """Responses were computed; shows the badge as a warning."""
    explanation: str
    """Which parts are simulated, or which participants were scanned and where published."""

    @classmethod
    def of_label(cls, label: object, *, simulated: bool) -> "ResponseSource":
        """Read the label of a data set, ``"LABEL: EXPLANATION"``, where it has one."""
        name, _, explanation = str(label or "Brain responses").partition(":")
        return cls(label=name, simulated=simulated, explanation=explanation.strip() or name)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreRow:
    """One score over the test images, with interval, chance, floor and ceiling."""

    metric: str
    """Name as shown, e.g. ``"Image given brain, top-1"``."""
    value: float
    """The score."""
    low: float | None = None
    """Lower end of the 95 % interval."""
    high: float | None = None
    """Upper end of the 95 % interval."""
    chance: float | None = None
    """Chance level."""
    floor: float | None = None
    """Score without any brain response, e.g. of the mean training image."""
    ceiling: float | None = None
    """Score of perfect tokens, e.g. of the true tokens through the image decoder."""
    noise_ceiling: tuple[float, float] | None = None
    """Bounds of what measurements as noisy as these allow."""
    n: int | None = None
    """Number of test images behind the score."""
    higher_is_better: bool = True
    """False for distances."""
    percent: bool = False
    """Write .41 as 41 %."""
    digits: int = 3
    """Decimals, where it is not written in percent (then one)."""
    group: str = ""
    """Heading inside the table of scores, e.g. ``"Retrieval"``."""
    explanation: str = ""
    """One sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageScore:
    """Format and order of a score of single images."""

    name: str
    """Key of `GalleryItem.scores`."""
    higher_is_better: bool = True
    """False for distances and ranks."""
    percent: bool = False
    """Write .41 as 41 %."""
    digits: int = 3
    """Decimals, where it is not written in percent (then one)."""
    explanation: str = ""
    """One sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GalleryItem:
    """One test image and everything that was decoded for it."""

    name: str
    """Short and unique, e.g. ``"image 412"``."""
    seen: RgbImage
    """Stimulus."""
    images: Mapping[str, RgbImage] = field(default_factory=dict)
    """Images by the labels of `ReportContent.columns`; any may be missing."""
    caption: str = ""
    """Decoded caption."""
    true_caption: str = ""
    """Caption of the seen image."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Scores of this image by name; NaN where one is not defined."""
    retrieved: Sequence[int] = ()
    """Retrieved images, best first: rows of `ReportContent.pool`, or of `items` without a pool."""
    target: int | None = None
    """Row of the seen image in the pool; None: without a pool the item's own row."""
    rank: int | None = None
    """Rank of the seen image in the retrieval gallery, 1 is best."""
    seed: int | None = None
    """Seed that the reconstruction was generated with."""
    variants: Mapping[str, RgbImage] = field(default_factory=dict)
    """Further reconstructions of the same image, e.g. ``{"trial 1": ..., "trial 2": ...}``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One of several compared runs, e.g. "One session, pretrained"."""

    name: str
    """Name as shown."""
    rows: Sequence[ScoreRow]
    """Its scores; arms are shown side by side where the `metric` is the same."""
    emphasis: bool = False
    """Show it in the accent colour."""
    explanation: str = ""
    """One line: how it was trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Paired difference between two arms on the same images: `a` minus `b`."""

    a: str
    """Name of the first arm."""
    b: str
    """Name of the second arm."""
    metric: str
    """Name of the score."""
    value: float
    """Mean difference."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    higher_is_better: bool = True
    """False for distances: then a negative difference favours `a`."""
    percent: bool = False
    """Write .08 as 8 percentage points."""
    digits: int = 3
    """Decimals, where it is not written in percent (then one)."""
    n: int | None = None
    """Number of pairs."""

    @property
    def verdict(self) -> Literal["better", "worse", "tie"]:
        """Whether `a` is better than `b`; a tie where the interval includes 0."""
        if self.low <= 0 <= self.high:
            return "tie"
        return "better" if (self.low > 0) == self.higher_is_better else "worse"


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One line of a panel."""

    name: str
    """Name in the legend."""
    x: Sequence[float]
    """Increasing."""
    y: Sequence[float]
    """As long as `x`; NaN leaves a gap."""
    low: Sequence[float] = ()
    """Lower ends of intervals, drawn as a band; as long as `x`, or none."""
    high: Sequence[float] = ()
    """Upper ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CurvePanel:
    """Up to six curves on common axes."""

    title: str
    """E.g. ``"Token loss"``."""
    x_label: str
    """With its unit, e.g. ``"step"``."""
    y_label: str
    """With its unit."""
    curves: Sequence[Curve]
    """The lines."""
    chance: float | None = None
    """Dashed horizontal line."""
    percent: bool = False
    """Write the values of y as percent."""
    log_x: bool = False
    """Logarithmic x, with a tick at each value; for amounts, all above 0."""
    explanation: str = ""
    """One sentence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Arms (or subjects) side by side, and their paired differences."""

    title: str
    """E.g. ``"One session of a new subject"``."""
    arms: Sequence[Arm]
    """Compared runs, in the order shown."""
    differences: Sequence[Difference] = ()
    """Paired differences."""
    curves: Sequence[CurvePanel] = ()
    """Scores of the arms over the amount of data."""
    explanation: str = ""
    """Differences between the arms, and what they have in common."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoiCeiling:
    """Fraction of the variance of a region's voxels that any model could explain."""

    roi: str
    """E.g. ``"V1"``."""
    n_voxels: int
    """Voxels of the region."""
    median: float
    """Median over voxels, in [0, 1]."""
    low: float | None = None
    """Lower quartile over voxels."""
    high: float | None = None
    """Upper quartile over voxels."""
    averaged: float | None = None
    """Median for the average of all repeats; `median` is then that of one trial."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnalysisSummary:
    """Findings of one analysis."""

    title: str
    """Heading."""
    lines: Sequence[str]
    """Findings in words and numbers."""
    figure: str
    """Address of an image, with its content."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageCost:
    """Time and memory of one stage."""

    stage: str
    """E.g. ``"train"``."""
    seconds: float
    """Wall time."""
    peak_gib: float | None = None
    """Largest resident memory, GiB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A short paragraph with a heading."""

    title: str
    """One line."""
    text: str
    """Two or three sentences."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column of numbers."""

    key: str
    """Key of `TableRow.values`."""
    title: str
    """Heading."""
    percent: bool = False
    """Write .41 as 41.0 %."""
    higher_is_better: bool = True
    """Direction of the arrow beside the heading."""
    arrow: bool = True
    """Whether there is an arrow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableRow:
    """One row."""

    label: str
    """First cell."""
    values: Mapping[str, float | str | None]
    """Numbers, or text as it is, by `Column.key`; None and NaN leave a cell empty."""
    note: str = ""
    """Last cell, e.g. the source."""
    own: bool = False
    """Written in bold: the row of this run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows of numbers under a caption."""

    caption: str
    """One sentence."""
    columns: Sequence[Column]
    """Columns, in their order."""
    rows: Sequence[TableRow]
    """Rows, in their order."""
    notes: Sequence[str] = field(default_factory=tuple)
    """Sentences below the table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """Conclusion of one check."""

    title: str
    """Name of the check."""
    text: str
    """One or two sentences with the numbers."""
    warns: bool = False
    """Whether it casts doubt on the scores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Battery:
    """Controls that separate the brain's part of the scores from the generator's."""

    checks: Sequence[Check]
    """Conclusions, warnings first."""
    controls: Table
    """Scores of the run and of each control."""
    curves: Sequence[CurvePanel] = ()
    """Scores over the dimensions of a bottleneck."""
    clusters: Table | None = None
    """Identification within clusters of images."""
    missing: Sequence[str] = ()
    """Sentences on the controls that were left out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportContent:
    """Everything that one report page shows."""

    title: str
    """Heading of the page."""
    summary: str
    """Two sentences on what was decoded."""
    responses: ResponseSource
    """The badge."""
    statement: str = ""
    """One result in plain words, beside its chance level."""
    arms: Mapping[str, str] = field(default_factory=dict)
    """A line for each compared run, by its name."""
    warnings: Sequence[str] = ()
    """Limits to state before any number."""
    headline: Sequence[ScoreRow] = ()
    """Three to five scores, shown large."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Label of an image: explanation, in the order shown; the first is the reconstruction."""
    items: Sequence[GalleryItem] = ()
    """The gallery: all test images, or a random sample."""
    image_scores: Sequence[ImageScore] = ()
    """Format of the scores of images; those not listed count as "higher is better"."""
    pool: Sequence[RgbImage] = ()
    """Retrieval gallery, where it is larger than the `items`."""
    caption_note: str = ""
    """Where captions come from, e.g. ``"from the nearest training image"``."""
    sample_seed: int = 0
    """Seed of the random order in which the gallery opens."""
    scores: Sequence[ScoreRow] = ()
    """The table of scores."""
    retrieval: Table | None = None
    """Other ways to score retrieval, folded away."""
    tables: Sequence[Table] = ()
    """The run beside published results."""
    battery: Battery | None = None
    """How much is the brain, how much the generator."""
    comparisons: Sequence[Comparison] = ()
    """Arms or subjects side by side."""
    analyses: Sequence[AnalysisSummary] = ()
    """Findings of ``mindeye2 analyse``."""
    learning: Sequence[CurvePanel] = ()
    """Learning curves."""
    ceilings: Sequence[RoiCeiling] = ()
    """Noise ceilings by region."""
    notes: Sequence[Note] = ()
    """Notes on how to read the page."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Date, version, recipe, seeds, machine, data set."""
    stages: Sequence[StageCost] = ()
    """Wall time and peak memory."""
    config: str = ""
    """The resolved settings as text, folded away."""
