"""Numbers, axes and curves as text and inline SVG, in the page's own fonts and colours.

Unlike embedded matplotlib figures, they follow the page's fonts, width and dark mode, and stay
readable on a phone.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from mindeye2.reporting.content import Curve, CurvePanel

__all__ = ["Axis", "curve_svg", "format_interval", "format_number", "nice_axis"]

WIDTH, HEIGHT = 320, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 26, 36
MOST_POINTS = 240
PERCENT = "\N{NO-BREAK SPACE}%"


def format_number(
    value: float | None, *, percent: bool = False, digits: int = 3, signed: bool = False
) -> str:
    """Format a number with a true minus sign; None and NaN become a dash.

    >>> format_number(0.0123, digits=2), format_number(0.41, percent=True).split()
    ('0.01', ['41.0', '%'])
    """
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    text = f"{100 * value:.1f}" if percent else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    elif signed and value > 0:
        text = f"+{text}"
    return text.replace("-", "\N{MINUS SIGN}") + (PERCENT if percent else "")


def format_interval(
    low: float | None,
    high: float | None,
    *,
    percent: bool = False,
    digits: int = 3,
    signed: bool = False,
) -> str:
    """Format an interval with its unit once; a dash where one end is None.

    >>> format_interval(0.33, 0.49, digits=2)
    '0.33 to 0.49'
    """
    if low is None or high is None:
        return format_number(None)
    first, last = (
        format_number(end, percent=percent, digits=digits, signed=signed) for end in (low, high)
    )
    return f"{first.removesuffix(PERCENT)} to {last}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """Linear axis with round ticks."""

    start: float
    """Value at the left or lower end."""
    stop: float
    """Value at the other end."""
    ticks: tuple[float, ...]
    """Round values from `start` to `stop`."""

    def at(self, value: float) -> float:
        """Return the position of a value in percent of the axis, at most at its ends."""
        fraction = (value - self.start) / (self.stop - self.start)
        return round(100 * min(max(fraction, 0.0), 1.0), 3)

    def label(self, tick: float, *, percent: bool = False) -> str:
        """Format a tick with as few decimals as tell neighbours apart."""
        step = (self.ticks[1] - self.ticks[0]) * (100 if percent else 1)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        text = f"{tick * (100 if percent else 1):.{decimals}f}".replace("-", "\N{MINUS SIGN}")
        return text + (PERCENT if percent else "")


def nice_axis(values: Iterable[float | None], *, n_ticks: int = 5) -> Axis:
    """Return an axis that contains all finite values, with steps of 1, 2 or 5 times 10**k.

    >>> nice_axis([0.01, 0.43]).ticks
    (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    """
    finite = [v for v in values if v is not None and math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if high - low < 1e-12 * max(abs(low), abs(high), 1e-300):
        # A single value still needs an axis of some width.
        low, high = low - max(abs(low), 1.0) / 2, high + max(abs(high), 1.0) / 2
    power = 10.0 ** math.floor(math.log10((high - low) / max(n_ticks - 1, 1)))
    ranges = {
        step: range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)
        for step in (power, 2 * power, 5 * power, 10 * power)
    }
    # Of two steps that miss the wanted number alike, the finer one comes first.
    step = min(ranges, key=lambda s: abs(len(ranges[s]) - n_ticks))
    ticks = tuple(float(f"{i * step:.12g}") for i in ranges[step])
    return Axis(start=ticks[0], stop=ticks[-1], ticks=ticks)


def curve_svg(panel: CurvePanel) -> Markup:
    """Render curves as one ``<svg>`` with the page's colour classes ``s1`` to ``s6``.

    Raises ValueError if a curve has no points, or not as many `y` as `x`.
    """
    for curve in panel.curves:
        if len(curve.x) != len(curve.y) or not len(curve.x):
            raise ValueError(
                f"curve {curve.name!r} of {panel.title!r} has {len(curve.x)} x and "
                f"{len(curve.y)} y. Give as many of each, at least one, or leave it out."
            )
    across = _across(panel)
    up = nice_axis([panel.chance, *(v for c in panel.curves for v in (*c.y, *c.low, *c.high))])

    def x(value: float) -> float:
        at = across.at(math.log10(value) if panel.log_x else value)
        return round(LEFT + (WIDTH - LEFT - RIGHT) * at / 100, 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * up.at(value) / 100, 1)

    right, foot = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y(t)}" y2="{y(t)}"/>'
        f'<text class="tick" x="{LEFT - 7}" y="{y(t) + 3.5}" text-anchor="end">'
        f"{up.label(t, percent=panel.percent)}</text>"
        for t in up.ticks
    ]
    parts += [
        f'<text class="tick" x="{x(t)}" y="{foot + 15}" text-anchor="middle">{label}</text>'
        for t, label in _ticks(panel, across).items()
    ]
    parts.append(
        f'<text class="tick" x="{(LEFT + right) / 2}" y="{HEIGHT - 4}" text-anchor="middle">'
        f"{escape(panel.x_label)}</text>"
    )
    parts.append(f'<text class="tick unit" x="0" y="11">{escape(panel.y_label)}</text>')
    if panel.chance is not None:
        at = y(panel.chance)
        parts.append(f'<line class="chance" x1="{LEFT}" x2="{right}" y1="{at}" y2="{at}"/>')
    for number, curve in enumerate(panel.curves, start=1):
        colour = f"s{(number - 1) % 6 + 1}"
        if curve.low:
            upper = [f"{x(a)},{y(b)}" for a, b in zip(curve.x, curve.high, strict=True)]
            lower = [f"{x(a)},{y(b)}" for a, b in zip(curve.x, curve.low, strict=True)]
            outline = " ".join([*upper, *reversed(lower)])
            parts.append(f'<polygon class="band {colour}" points="{outline}"/>')
        points = [(x(a), y(b)) if math.isfinite(b) else None for a, b in _thin(curve)]
        parts.append(f'<path class="curve {colour}" d="{_path(points)}"/>')
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_describe(panel))}">'
        f"{''.join(parts)}</svg>"
    )


def _across(panel: CurvePanel) -> Axis:
    """Return the axis of x, of its logarithms where they are drawn."""
    if panel.log_x:
        logs = [math.log10(v) for c in panel.curves for v in c.x]
        apart = max(logs) - min(logs) or 1.0
        return Axis(start=min(logs), stop=min(logs) + apart, ticks=())
    return _tight(nice_axis([v for c in panel.curves for v in c.x], n_ticks=4), panel.curves)


def _ticks(panel: CurvePanel, across: Axis) -> dict[float, str]:
    """Return labels by position; of a logarithmic axis those of values that lie apart."""
    if not panel.log_x:
        return {t: across.label(t) for t in across.ticks}
    ticks: dict[float, str] = {}
    for value in sorted({float(v) for c in panel.curves for v in c.x}):
        last = max(ticks, default=None)
        if last is None or math.log10(value / last) >= (across.stop - across.start) / 7:
            ticks[value] = f"{value:,.0f}" if value >= 10 else f"{value:g}"
    return ticks


def _tight(axis: Axis, curves: Sequence[Curve]) -> Axis:
    """Crop an axis to the range of the curves."""
    start, stop = (end(float(v) for c in curves for v in c.x) for end in (min, max))
    if start == stop:
        return axis
    return Axis(start=start, stop=stop, ticks=tuple(t for t in axis.ticks if start <= t <= stop))


def _thin(curve: Curve) -> list[tuple[float, float]]:
    """Average long curves in equal blocks, so that a log of every step stays small."""
    block = math.ceil(len(curve.x) / MOST_POINTS)
    pairs = list(zip(map(float, curve.x), map(float, curve.y), strict=True))
    if block == 1:
        return pairs
    blocks = [pairs[i : i + block] for i in range(0, len(pairs), block)]
    return [(sum(a for a, _ in b) / len(b), sum(c for _, c in b) / len(b)) for b in blocks]


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """Return the SVG path through points, interrupted at gaps."""
    words, down = [], False
    for point in points:
        if point is not None:
            words.append(f"{'L' if down else 'M'}{point[0]:g} {point[1]:g}")
        down = point is not None
    # A single point would be invisible: a line of no length gets a round cap.
    return " ".join(words) + ("h0" if len(words) == 1 else "")


def _describe(panel: CurvePanel) -> str:
    """Describe the curves in words, for screen readers."""
    ends = (
        f"{c.name}: from {format_number(c.y[0], percent=panel.percent)} "
        f"to {format_number(c.y[-1], percent=panel.percent)}"
        for c in panel.curves
    )
    return f"{panel.title}, {panel.y_label} over {panel.x_label}. {'; '.join(ends)}."
