"""Rows of published papers beside the scores of a run, where both are of one protocol."""

import csv
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from mindeye2.metrics.catalogue import CAPTION_SCORES, IMAGES
from mindeye2.metrics.protocols import PROTOCOLS, REGIONS, Protocol
from mindeye2.reporting.content import Column, Table, TableRow
from mindeye2.reporting.notes import NOISE_CEILING

__all__ = ["paper_tables", "result_tables"]

_RETRIEVAL = {"image": "brain_given_image_300", "brain": "image_given_brain_300"}
"""Published name of a direction: metric."""

_IMAGE_COLUMNS = (
    Column(key="pixcorr", title="PixCorr"),
    Column(key="ssim", title="SSIM"),
    Column(key="alexnet2", title="Alex(2)", percent=True),
    Column(key="alexnet5", title="Alex(5)", percent=True),
    Column(key="inception", title="Incep", percent=True),
    Column(key="clip", title="CLIP", percent=True),
    Column(key="effnet", title="Eff", higher_is_better=False),
    Column(key="swav", title="SwAV", higher_is_better=False),
    Column(key="image", title="Image", percent=True),
    Column(key="brain", title="Brain", percent=True),
)
_BRAIN_COLUMNS = tuple(Column(key=f"bc_{r}", title=label) for r, label in REGIONS.items())
_CAPTION_COLUMNS = tuple(
    Column(
        key=f"{name}_{which}",
        title=f"{title.removesuffix(' similarity').removesuffix(' text')} ({label})",
        percent=name in ("sentence", "clip_b", "clip_l"),
    )
    for which, label in (("coco", "COCO"), ("git", "GIT"))
    for name, (title, _) in CAPTION_SCORES.items()
)


def result_tables(
    summary: Sequence[Mapping[str, Any]],
    *,
    protocol: str,
    subject: str,
    n_images: int,
    name: str = "This run",
) -> list[Table]:
    """Lay out the scores of a run as the paper's tables, beside published rows of its protocol.

    Parameters
    ----------
    summary
        Rows of ``summary.json``.
    protocol
        A key of `PROTOCOLS`.
    subject
        Subject of the run; published rows of it and of the mean over subjects are shown.
    n_images
        Test images of the run. Published rows are left out where the protocol has another number.
    name
        Label of the run.

    Returns
    -------
    list of Table
        Images and retrieval, brain correlation, captions, as far as there are scores; last all
        scores with their intervals.
    """
    scores = {row["name"]: float(row["value"]) for row in summary}
    tables = paper_tables({name: scores}, protocol=protocol, subject=subject, n_images=n_images)
    return [*tables, _all_scores(summary, protocol=protocol, subject=subject)]


def paper_tables(
    scores: Mapping[str, Mapping[str, float]], *, protocol: str, subject: str, n_images: int
) -> list[Table]:
    """Lay out scores by run and metric as the paper's tables, beside rows of the same protocol.

    Parameters
    ----------
    scores
        Scores by the label of a run, or of an arm, and metric.
    protocol
        A key of `PROTOCOLS`; one without published networks has no such tables.
    subject
        Their subject; any other text, such as "mean of 4 subjects", leaves the published rows of
        single subjects out.
    n_images
        Test images. Published rows are left out where the protocol has another number.

    Returns
    -------
    list of Table
        Images and retrieval, brain correlation, captions, as far as there are scores.
    """
    rules = PROTOCOLS[protocol]
    own = [row for name, by_metric in scores.items() for row in _own_rows(by_metric, name)]
    published, note = _published_rows(rules, subject, n_images)
    tables = []
    for caption, columns in (
        ("Images and retrieval", _IMAGE_COLUMNS),
        ("Brain correlation", _BRAIN_COLUMNS),
        ("Captions", _CAPTION_COLUMNS),
    ):
        if columns is _CAPTION_COLUMNS and rules.references == "first":
            published = []
        rows = [r for r in own if any(r.values.get(c.key) is not None for c in columns)]
        beside = [r for r in published if any(r.values.get(c.key) is not None for c in columns)]
        if rows and rules.networks:
            used = [
                c for c in columns if any(r.values.get(c.key) is not None for r in rows + beside)
            ]
            title = f"{caption}: {protocol}, {subject}, {n_images} images"
            notes = [note] if note else []
            if columns is _IMAGE_COLUMNS:
                notes.append(
                    "'Image' ranks brain samples for each image, 'Brain' images for each brain "
                    "sample: the published names are the opposite of what is ranked."
                )
            tables.append(Table(caption=title, columns=used, rows=rows + beside, notes=notes))
    return tables


def _own_rows(scores: Mapping[str, float], name: str) -> list[TableRow]:
    """Return a row for each kind of images; the first also has retrieval and captions."""
    rows = []
    for kind in ("blended", "refined", "unclip", "lowlevel", "ceiling"):
        values: dict[str, float | str | None] = {
            c.key: scores.get(f"{c.key}_{kind}") for c in _IMAGE_COLUMNS if c.key not in _RETRIEVAL
        }
        values |= {f"bc_{r}": scores.get(f"brain_correlation_{r}_{kind}") for r in REGIONS}
        if any(value is not None for value in values.values()):
            rows.append(TableRow(label=f"{name}, {IMAGES[kind]}", values=values, own=True))
    shared = {column: scores.get(metric) for column, metric in _RETRIEVAL.items()}
    shared |= {c.key: scores.get(c.key) for c in _CAPTION_COLUMNS}
    if not rows:
        return [TableRow(label=name, values=shared, own=True)]
    first = TableRow(label=rows[0].label, values={**rows[0].values, **shared}, own=True)
    return [first, *rows[1:]]


def _published_rows(protocol: Protocol, subject: str, n_images: int) -> tuple[list[TableRow], str]:
    if protocol.rows is None:
        return [], ""
    if protocol.n_images != n_images:
        return [], (
            f"The protocol has {protocol.n_images} test images and this run {n_images}: published "
            "rows are left out."
        )
    rows = [
        TableRow(
            label=f"{row['method']}, {row['data']}, {row['subject']}",
            values={
                column.key: float(row[column.key]) if row[column.key] else None
                for column in (*_IMAGE_COLUMNS, *_BRAIN_COLUMNS, *_CAPTION_COLUMNS)
            },
            note=row["source"],
        )
        for row in _results()
        if row["protocol"] == protocol.rows
        and (row["subject"] == subject or not row["subject"].startswith("subj"))
    ]
    return rows, ""


def _all_scores(summary: Sequence[Mapping[str, Any]], *, protocol: str, subject: str) -> Table:
    columns = [
        Column(key=key, title=title, arrow=False)
        for key, title in (
            ("value", "score"),
            ("low", "95 % from"),
            ("high", "to"),
            ("chance", "chance"),
            ("floor", "floor"),
            ("ceiling", "ceiling"),
            ("noise_ceiling_low", "noise ceiling from"),
            ("noise_ceiling_high", "to"),
        )
        if any(row.get(key) is not None for row in summary)
    ]
    rows = [
        TableRow(
            label=f"{row['title']} {_direction(row)}",
            values={c.key: row.get(c.key) for c in columns},
        )
        for row in summary
    ]
    notes = ["Fractions, not percent. Intervals: BCa bootstrap over images."]
    if any(row.get("noise_ceiling_low") is not None for row in summary):
        notes.append(NOISE_CEILING)
    title = f"All scores: {protocol}, {subject}"
    return Table(caption=title, columns=columns, rows=rows, notes=notes)


def _direction(row: Mapping[str, Any]) -> str:
    better = row.get("higher_is_better", True)
    return "\N{UPWARDS ARROW}" if better else "\N{DOWNWARDS ARROW}"


@cache
def _results() -> tuple[dict[str, str], ...]:
    text = (files("mindeye2") / "assets" / "published" / "results.csv").read_text("utf-8")
    return tuple(csv.DictReader(text.splitlines()))
