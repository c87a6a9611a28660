"""Self-contained HTML page: no network, no other file, nothing to install to read it."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from mindeye2.reporting.content import Comparison, ReportContent, ScoreRow
from mindeye2.reporting.figures import Axis, curve_svg, format_interval, format_number, nice_axis
from mindeye2.reporting.gallery import gallery_values
from mindeye2.reporting.tables import table_cells

__all__ = ["render_page"]

IMAGE_BUDGET = 8_000_000
"""Bytes of the images of a page of 100; the others get a fifth of the space each."""


def render_page(content: ReportContent, *, image_budget: int | None = None) -> str:
    """Render a report as one HTML document that loads nothing.

    Parameters
    ----------
    content
        Everything that the page shows.
    image_budget
        Bytes that all images together may take; they are downscaled until they fit. By default
        8 MB for up to 100 test images, and 22 MB for 1,000.

    Returns
    -------
    str
        The HTML document.

    Raises
    ------
    ValueError
        If an item names a column, a gallery image or a score that does not exist, or an image is
        not RGB in uint8.
    """
    if image_budget is None:
        image_budget = IMAGE_BUDGET + IMAGE_BUDGET // 500 * max(0, len(content.items) - 100)
    main_scores, variants = _fold_variants(content.scores)
    # The two assets hold no text of users, so that they need no escaping.
    assets = files("mindeye2.reporting")
    return _template().render(
        content=content,
        style=Markup((assets / "page.css").read_text(encoding="utf-8")),
        script=Markup((assets / "page.js").read_text(encoding="utf-8")),
        gallery=gallery_values(content, image_budget=image_budget),
        row_axis=_row_axis,
        shown=_shown_columns(content.scores),
        groups=list(dict.fromkeys(row.group for row in main_scores)),
        main_scores=main_scores,
        variants=variants,
        panels=[_metric_panels(comparison) for comparison in content.comparisons],
        curve_svg=curve_svg,
        ceiling_axis=nice_axis(
            [0.0, *(v for c in content.ceilings for v in (c.median, c.high, c.averaged))]
        ),
        clock=_clock,
        table_cells=table_cells,
    )


@cache
def _template() -> Template:
    """Read and compile the template, once."""
    environment = Environment(
        loader=PackageLoader("mindeye2.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = format_number
    environment.filters["interval"] = format_interval
    environment.filters["points"] = _points
    return environment.get_template("page.html.j2")


def _row_axis(row: ScoreRow) -> Axis:
    """Return the axis from 0 to 1 of a fraction, or from zero to the largest number of the row."""
    if row.percent:
        return Axis(start=0.0, stop=1.0, ticks=(0.0, 0.5, 1.0))
    return nice_axis(
        [0.0, row.value, row.low, row.high, row.chance, row.floor, row.ceiling], n_ticks=3
    )


def _shown_columns(rows: Sequence[ScoreRow]) -> list[str]:
    """Return the optional columns of the table that any row fills."""
    names = ("chance", "floor", "ceiling", "n")
    return [name for name in names if any(getattr(row, name) is not None for row in rows)]


def _fold_variants(rows: Sequence[ScoreRow]) -> tuple[list[ScoreRow], list[ScoreRow]]:
    """Return the rows of the table, and those of retrieval but the first, which fold away."""
    retrieval = [row for row in rows if row.group.startswith("Retrieval")]
    variants = retrieval[1:] if len(retrieval) > 2 else []
    return [row for row in rows if row not in variants], variants


def _metric_panels(comparison: Comparison) -> list[dict[str, Any]]:
    """Group the arms and differences of a comparison by metric, each on a common axis."""
    metrics = dict.fromkeys(row.metric for arm in comparison.arms for row in arm.rows)
    known = {arm.name for arm in comparison.arms}
    for d in comparison.differences:
        unknown = {d.a, d.b} - known
        if unknown:
            raise ValueError(
                f"a difference of {comparison.title!r} names the arm {unknown.pop()!r}, "
                f"but the arms are {sorted(known)}."
            )
        if d.metric not in metrics:
            raise ValueError(
                f"a difference of {comparison.title!r} names the score {d.metric!r}, "
                f"but its arms have {sorted(metrics)}."
            )
    panels = []
    for metric in metrics:
        arms = [(a, row) for a in comparison.arms for row in a.rows if row.metric == metric]
        gaps = [d for d in comparison.differences if d.metric == metric]
        panels.append(
            {
                "metric": metric,
                "arms": arms,
                "axis": nice_axis(
                    [v for _, r in arms for v in (r.value, r.low, r.high, r.chance)],
                    n_ticks=6,
                ),
                "differences": gaps,
                "gap_axis": nice_axis([0.0, *(v for d in gaps for v in (d.low, d.high))]),
            }
        )
    return panels


def _points(text: str) -> str:
    """Replace the percent sign in a difference between two percentages by "points"."""
    return text.replace("%", "points")


def _clock(seconds: float) -> str:
    """Format a duration in s, min or h."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
