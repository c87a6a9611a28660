import re
import xml.etree.ElementTree as ET

import pytest

from mindeye2.reporting import Curve, CurvePanel
from mindeye2.reporting.figures import curve_svg, format_interval, format_number, nice_axis

SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"


def panel(*curves, **facts):
    return CurvePanel(title="Loss", x_label="step", y_label="nats", curves=curves, **facts)


@pytest.mark.parametrize(
    ("value", "facts", "text"),
    [
        (0.4137, {"percent": True}, f"41.4{SPACE}%"),
        (-0.0123, {"digits": 2}, f"{MINUS}0.01"),
        (-0.0001, {"digits": 2}, "0.00"),
        (0.08, {"percent": True, "signed": True}, f"+8.0{SPACE}%"),
        (0.0, {"signed": True}, "0.000"),
        (None, {}, "\N{EN DASH}"),
        (float("nan"), {"percent": True}, "\N{EN DASH}"),
    ],
)
def test_numbers_are_written_with_true_signs(value, facts, text):
    assert format_number(value, **facts) == text


def test_an_interval_names_its_unit_once():
    assert format_interval(0.322, 0.506, percent=True) == f"32.2 to 50.6{SPACE}%"
    assert format_interval(-0.02, 0.03, digits=2, signed=True) == f"{MINUS}0.02 to +0.03"
    assert format_interval(None, 0.5) == "\N{EN DASH}"


@pytest.mark.parametrize(
    "values", [[0, 1], [0.013, 0.43], [-7.1, 15], [3, 3], [0], [1e-9, 2e-9], [5e6, 7.7e6], []]
)
def test_an_axis_is_round_and_holds_its_values(values):
    axis = nice_axis(values)
    assert axis.ticks[0] == axis.start <= min(values, default=0)
    assert axis.ticks[-1] == axis.stop >= max(values, default=1)
    assert 2 <= len(axis.ticks) <= 12
    steps = {float(f"{b - a:.6g}") for a, b in zip(axis.ticks, axis.ticks[1:], strict=False)}
    assert len(steps) == 1
    assert re.fullmatch(r"[125](\.0+)?e[+-]\d+", f"{steps.pop():.5e}")


def test_neighbouring_ticks_have_different_labels():
    axis = nice_axis([0.501, 0.509])
    labels = [axis.label(t) for t in axis.ticks]
    assert len(set(labels)) == len(labels)
    assert nice_axis([0, 0.6]).label(0.2, percent=True) == f"20{SPACE}%"


def test_a_position_on_the_axis_is_a_percentage_and_stays_inside():
    axis = nice_axis([0, 10])
    assert [axis.at(v) for v in (-5, 0, 2.5, 10, 99)] == [0, 0, 25, 100, 100]


def test_a_curve_goes_through_its_points_from_edge_to_edge():
    svg = ET.fromstring(curve_svg(panel(Curve(name="a", x=[10, 20, 30], y=[0.0, 1.0, 0.5]))))
    (path,) = svg.iter("path")
    points = [tuple(map(float, p)) for p in re.findall(r"[ML]([\d.]+) ([\d.]+)", path.get("d"))]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1)
    assert (y0 + y1) / 2 == pytest.approx(y2)
    assert y1 < y2 < y0  # up is less in an SVG


def test_gaps_interrupt_the_path_and_a_single_point_stays_visible():
    nan = float("nan")
    svg = curve_svg(panel(Curve(name="a", x=[0, 1, 2, 3], y=[1.0, nan, 2.0, 3.0])))
    assert re.search(r'd="M[^L"]*M[^L"]*L[^"]*"', svg)
    assert 'h0"' in curve_svg(panel(Curve(name="a", x=[5], y=[0.5])))


def test_long_logs_are_averaged_in_blocks():
    n = 10_000
    svg = curve_svg(panel(Curve(name="a", x=list(range(n)), y=[1.0, 3.0] * (n // 2))))
    heights = set(re.findall(r"[ML][\d.]+ ([\d.]+)", svg))
    assert len(re.findall(r"L", svg)) < 240
    assert len(heights) == 1  # every block has mean 2


def test_the_figure_is_described_and_its_text_escaped():
    curve = Curve(name='<b>"x"', x=[0, 1], y=[0.9, 0.4])
    svg = ET.fromstring(curve_svg(panel(curve, chance=0.5)))
    assert svg.get("aria-label") == 'Loss, nats over step. <b>"x": from 0.900 to 0.400.'
    assert len(list(svg.iter("line"))) == len(nice_axis([0.4, 0.9]).ticks) + 1


@pytest.mark.parametrize(("x", "y"), [([0, 1], [0.5]), ([], [])])
def test_a_curve_without_points_is_refused(x, y):
    with pytest.raises(ValueError, match=r"curve 'a' of 'Loss' has \d x and \d y"):
        curve_svg(panel(Curve(name="a", x=x, y=y)))


def test_an_interval_is_a_band_and_amounts_are_on_a_logarithmic_axis():
    curve = Curve(name="a", x=[75, 300, 1200], y=[0.2, 0.4, 0.6], low=[0.1] * 3, high=[0.7] * 3)
    root = ET.fromstring(curve_svg(panel(curve, log_x=True)))
    [band] = [e for e in root.iter() if e.get("class") == "band s1"]
    corners = [tuple(map(float, c.split(","))) for c in band.get("points").split()]
    across = [x for x, _ in corners]
    assert across[0] == across[5] < across[1] < across[2] == across[3]
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.2)
    assert {y for _, y in corners[:3]} != {y for _, y in corners[3:]}
    labels = [e.text for e in root.iter() if e.get("text-anchor") == "middle"]
    assert labels[:3] == ["75", "300", "1,200"]
