"""Figures of analyses as self-contained SVG files: dots with intervals, lines, points, images.

They carry their own colours, for light and dark pages, so that a file can be opened by itself and
a page can embed it.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8
from markupsafe import escape
from PIL import Image

from mindeye2.reporting.figures import Axis, nice_axis

__all__ = ["DotPanel", "LinePanel", "Series", "draw_dots", "draw_images", "draw_lines"]

_STYLE = """<style>
svg { --ink: #24221f; --grid: #d8d4cc; --paper: #fffefb;
  --s1: #17605c; --s2: #b24a24; --s3: #4a57ab; --s4: #8a6500; --s5: #84407f; --s6: #5e5b54; }
@media (prefers-color-scheme: dark) { svg { --ink: #e8e4dc; --grid: #45423d; --paper: #1d1c1a;
  --s1: #7fcac0; --s2: #f0986f; --s3: #a3aef5; --s4: #dcb95a; --s5: #dd9bd7; --s6: #aba8a0; } }
text { fill: var(--ink); } .paper { fill: var(--paper); } .title { font-weight: 600; }
.grid { stroke: var(--grid); } .chance { stroke: var(--ink); stroke-dasharray: 3 3; }
</style>"""
_TOP, _FOOT, _LETTER = 50, 34, 7.4
_PLOT, _GAP = 280, 52


@dataclass(frozen=True, kw_only=True)
class Series:
    """Values of one colour; NaN leaves a gap."""

    name: str
    """Name in the legend."""
    values: Sequence[float]
    """One per row of dots, or per point of a line."""
    low: Sequence[float] = ()
    """Lower ends of intervals, where there are any."""
    high: Sequence[float] = ()
    """Upper ends."""
    x: Sequence[float] = ()
    """Positions of the points of a line."""
    line: bool = True
    """Connect the points of a line chart."""


@dataclass(frozen=True, kw_only=True)
class DotPanel:
    """One column of dots beside common row labels."""

    title: str
    """Measure, with its unit."""
    series: Sequence[Series]
    """The dots."""
    chance: float | None = None
    """Dashed line."""
    percent: bool = False
    """Write .41 as 41 %."""


@dataclass(frozen=True, kw_only=True)
class LinePanel(DotPanel):
    """Lines, or points, over a common axis."""

    x_label: str
    """Title of the horizontal axis."""
    ticks: Mapping[float, str] = field(default_factory=dict)
    """Labelled positions; round numbers by default."""
    links: bool = False
    """Join the points of the first two series, one by one."""


def draw_dots(rows: Sequence[str], panels: Sequence[DotPanel]) -> str:
    """Draw panels of horizontal dots with intervals side by side, with one row per label."""
    left = 16 + round(_LETTER * max(len(row) for row in rows))
    height = 10 + 9 * max(len(panel.series) for panel in panels)
    bottom = _TOP + height * len(rows)
    parts = [
        f'<text x="{left - 10}" y="{_TOP + height * (n + 0.5) + 4:.1f}" text-anchor="end">'
        f"{escape(row)}</text>"
        for n, row in enumerate(rows)
    ]
    for number, panel in enumerate(panels):
        x0 = left + number * (_PLOT + _GAP)
        axis = _value_axis(panel)
        parts += _frame_x(panel, axis, x0=x0, bottom=bottom)
        for index, series in enumerate(panel.series):
            colour = f"var(--s{index % 6 + 1})"
            for n, value in enumerate(series.values):
                if not math.isfinite(value):
                    continue
                y = _TOP + height * (n + 0.5) + 9 * (index - (len(panel.series) - 1) / 2)
                if series.low:
                    ends = [x0 + _PLOT * axis.at(e[n]) / 100 for e in (series.low, series.high)]
                    parts.append(
                        f'<line x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y:.1f}" y2="{y:.1f}" '
                        f'stroke="{colour}" stroke-width="1.5"/>'
                    )
                x = x0 + _PLOT * axis.at(value) / 100
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{colour}"/>')
    width = left + len(panels) * (_PLOT + _GAP)
    return _svg(parts, width=width, height=bottom + _FOOT, names=_names(panels))


def draw_lines(panels: Sequence[LinePanel]) -> str:
    """Draw panels of lines or points side by side."""
    height, left = 230, 52
    bottom = _TOP + height
    parts: list[str] = []
    for number, panel in enumerate(panels):
        x0 = left + number * (_PLOT + _GAP + left)
        up = _value_axis(panel)
        across = nice_axis([*panel.ticks, *(v for s in panel.series for v in s.x)])
        parts += _frame_y(panel, up, x0=x0, bottom=bottom, height=height)
        for tick, label in (panel.ticks or {t: across.label(t) for t in across.ticks}).items():
            x = x0 + _PLOT * across.at(tick) / 100
            parts.append(
                f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{escape(label)}</text>'
            )
        parts.append(
            f'<text x="{x0 + _PLOT / 2}" y="{bottom + 31}" text-anchor="middle">'
            f"{escape(panel.x_label)}</text>"
        )
        if panel.links:
            ends = [
                [
                    (x0 + _PLOT * across.at(x) / 100, bottom - height * up.at(y) / 100)
                    for x, y in zip(series.x, series.values, strict=True)
                ]
                for series in panel.series[:2]
            ]
            parts += [
                f'<line class="grid" x1="{a:.1f}" y1="{b:.1f}" x2="{c:.1f}" y2="{d:.1f}"/>'
                for (a, b), (c, d) in zip(*ends, strict=True)
            ]
        for index, series in enumerate(panel.series):
            colour = f"var(--s{index % 6 + 1})"
            xs = [x0 + _PLOT * across.at(v) / 100 for v in series.x]
            at = {
                key: [bottom - height * up.at(v) / 100 for v in values]
                for key, values in (("v", series.values), ("l", series.low), ("h", series.high))
            }
            kept = [n for n, v in enumerate(series.values) if math.isfinite(v)]
            parts += [
                f'<line x1="{xs[n]:.1f}" x2="{xs[n]:.1f}" y1="{at["l"][n]:.1f}" '
                f'y2="{at["h"][n]:.1f}" stroke="{colour}"/>'
                for n in (kept if series.low else [])
            ]
            if series.line:
                path = " ".join(f"{xs[n]:.1f},{at['v'][n]:.1f}" for n in kept)
                parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')
            radius = 3 if len(kept) < 30 else 2
            parts += [
                f'<circle cx="{xs[n]:.1f}" cy="{at["v"][n]:.1f}" r="{radius}" fill="{colour}" '
                'fill-opacity=".75"/>'
                for n in kept
            ]
    width = left + len(panels) * (_PLOT + _GAP + left)
    return _svg(parts, width=width, height=bottom + _FOOT + 6, names=_names(panels))


def draw_images(rows: Mapping[str, Sequence[UInt8[np.ndarray, "_ _ rgb"]]], *, side: int) -> str:
    """Draw a labelled row of images for each key, embedded as JPEG."""
    left = 16 + round(_LETTER * max(len(row) for row in rows))
    parts = []
    for n, (label, images) in enumerate(rows.items()):
        y = 12 + n * (side + 6)
        parts.append(
            f'<text x="{left - 10}" y="{y + side / 2 + 4}" text-anchor="end">'
            f"{escape(label)}</text>"
        )
        for column, image in enumerate(images):
            parts.append(
                f'<image x="{left + column * (side + 6)}" y="{y}" width="{side}" '
                f'height="{side}" href="data:image/jpeg;base64,{_jpeg(image)}"/>'
            )
    width = left + max(len(images) for images in rows.values()) * (side + 6) + 12
    return _svg(parts, width=width, height=18 + len(rows) * (side + 6), names=[])


def _value_axis(panel: DotPanel) -> Axis:
    values = [v for s in panel.series for part in (s.values, s.low, s.high) for v in part]
    return nice_axis([panel.chance, *values], n_ticks=4)


def _names(panels: Sequence[DotPanel]) -> list[str]:
    longest = max(panels, key=lambda p: len(p.series)).series
    return [s.name for s in longest] if len(longest) > 1 else []


def _frame_x(panel: DotPanel, axis: Axis, *, x0: float, bottom: float) -> list[str]:
    parts = [f'<text class="title" x="{x0}" y="{_TOP - 10}">{escape(panel.title)}</text>']
    for tick in axis.ticks:
        x = x0 + _PLOT * axis.at(tick) / 100
        label = axis.label(tick, percent=panel.percent)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
            f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{label}</text>'
        )
    if panel.chance is not None:
        x = x0 + _PLOT * axis.at(panel.chance) / 100
        parts.append(f'<line class="chance" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
    return parts


def _frame_y(panel: DotPanel, axis: Axis, *, x0: float, bottom: float, height: float) -> list[str]:
    parts = [f'<text class="title" x="{x0}" y="{_TOP - 10}">{escape(panel.title)}</text>']
    for tick in axis.ticks:
        y = bottom - height * axis.at(tick) / 100
        label = axis.label(tick, percent=panel.percent)
        parts.append(
            f'<line class="grid" x1="{x0}" x2="{x0 + _PLOT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{x0 - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
        )
    if panel.chance is not None:
        y = bottom - height * axis.at(panel.chance) / 100
        parts.append(
            f'<line class="chance" x1="{x0}" x2="{x0 + _PLOT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
    return parts


def _svg(parts: Sequence[str], *, width: float, height: float, names: Sequence[str]) -> str:
    """Put a figure together, with its legend in the first line."""
    legend, x = [], 16.0
    for number, name in enumerate(names):
        colour = f"var(--s{number % 6 + 1})"
        legend.append(
            f'<circle cx="{x:.0f}" cy="14" r="4" fill="{colour}"/>'
            f'<text x="{x + 9:.0f}" y="18">{escape(name)}</text>'
        )
        x += 30 + _LETTER * len(name)
    width = max(width, x)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" font-family="system-ui, sans-serif" font-size="12" role="img">'
        f'{_STYLE}<rect class="paper" width="100%" height="100%"/>'
        f"{''.join([*legend, *parts])}</svg>\n"
    )


def _jpeg(image: UInt8[np.ndarray, "_ _ rgb"]) -> str:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="JPEG", quality=88)
    return base64.b64encode(stream.getvalue()).decode()
