"""Section of the page: how much is the brain, how much the generator."""

import math
from collections.abc import Mapping
from typing import Any

from mindeye2.reporting.content import (
    Battery,
    Check,
    Column,
    Curve,
    CurvePanel,
    Table,
    TableRow,
)
from mindeye2.reporting.figures import format_number

__all__ = ["battery_section"]

ALPHA = 0.05
"""Level of the stars of a row, divided by its number of scores (Bonferroni)."""

_BOTTLENECK = "bottleneck_"


def battery_section(result: Mapping[str, Any]) -> Battery:
    """Arrange the content of ``battery.json``."""
    checks = [
        Check(title=f["check"].capitalize(), text=f["text"], warns=f["level"] == "warning")
        for f in result["findings"]
    ]
    return Battery(
        checks=sorted(checks, key=lambda check: not check.warns),
        controls=_controls(result),
        curves=_curves(result),
        clusters=_clusters(result),
        missing=result["missing"],
    )


def _controls(result: Mapping[str, Any]) -> Table:
    metrics = result["metrics"]
    rows = [
        TableRow(
            label=control["title"],
            values={
                name: _cell(s, control, metrics[name]) for name, s in control["scores"].items()
            },
            note=control["explanation"],
            own=control["name"] == "run",
        )
        for control in result["controls"]
    ]
    return Table(
        caption=f"The run and its controls on the first {result['n_images']} test images",
        columns=[
            Column(key=name, title=m["title"], higher_is_better=m["higher_is_better"])
            for name, m in metrics.items()
        ],
        rows=rows,
        notes=[
            "In brackets: this run minus the control, paired by image. A star marks a difference "
            "at the 5 % level (sign flips, Bonferroni over the scores of a row). Two-way scores "
            "and ranks are among these images only.",
            *(f"{c['title']}: {c['explanation']}" for c in result["controls"][1:]),
        ],
    )


def _cell(score: Mapping[str, Any], control: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """Format a score, and the difference of the run from it."""
    percent = metric["percent"]
    text = format_number(score["mean"], percent=percent)
    gap = score.get("run_minus_this")
    if gap is None:
        return text
    star = "*" if gap["p"] * len(control["scores"]) < ALPHA else ""
    difference = format_number(gap["mean"], percent=percent, signed=True).removesuffix("%").strip()
    return f"{text} ({difference}{star})"


def _curves(result: Mapping[str, Any]) -> list[CurvePanel]:
    """Draw each score over the logarithm of the bottleneck's dimensions."""
    rows = {control["name"]: control["scores"] for control in result["controls"]}
    sizes = sorted(int(n.removeprefix(_BOTTLENECK)) for n in rows if n.startswith(_BOTTLENECK))
    sizes = [k for k in sizes if k > 0]
    panels = []
    for name, metric in result["metrics"].items() if len(sizes) > 1 else ():
        points = [
            (math.log2(k), rows[f"{_BOTTLENECK}{k}"][name]["mean"])
            for k in sizes
            if name in rows[f"{_BOTTLENECK}{k}"]
        ]
        if len(points) < 2:
            continue
        x, y = zip(*points, strict=True)
        whole = rows["run"][name]["mean"]
        panels.append(
            CurvePanel(
                title=metric["title"],
                x_label="log2 of the dimensions",
                y_label="score",
                curves=[
                    Curve(name="bottleneck", x=x, y=y),
                    Curve(name="whole run", x=(x[0], x[-1]), y=(whole, whole)),
                ],
                chance=rows["shuffled"].get(name, {}).get("mean"),
                percent=metric["percent"],
                explanation="Dashed: betas shuffled over images.",
            )
        )
    return panels


def _clusters(result: Mapping[str, Any]) -> Table | None:
    found = result["clusters"]
    if found is None:
        return None
    rows = [
        TableRow(
            label=f"Cluster {number}",
            values={
                "test": str(cluster["test_images"]),
                "all": str(cluster["all_images"]),
                "within": cluster["within"],
            },
        )
        for number, cluster in enumerate(found["clusters"], 1)
    ]
    notes = [
        "k-means on the true tokens of all images, averaged over positions. Identification within "
        "a cluster tells images of one kind apart; a decoder of the kind alone is at 50 % there."
    ]
    if "same_cluster" in found:
        notes.append(
            f"The nearest training image is of the cluster of the seen image for "
            f"{format_number(found['same_cluster'], percent=True)} of the images, by chance for "
            f"{format_number(found['same_cluster_chance'], percent=True)}."
        )
    return Table(
        caption="Two-way identification by tokens within clusters of images",
        columns=[
            Column(key="test", title="Test images", arrow=False),
            Column(key="all", title="All images", arrow=False),
            Column(key="within", title="Within the cluster", percent=True),
        ],
        rows=rows,
        notes=notes,
    )
