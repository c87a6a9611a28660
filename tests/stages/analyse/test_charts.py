"""Figures as XML: each value stands where its axis says."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from mindeye2.stages.analyse.charts import (
    DotPanel,
    LinePanel,
    Series,
    draw_dots,
    draw_images,
    draw_lines,
)


def circles(svg, axis):
    root = ElementTree.fromstring(re.sub(r' xmlns="[^"]*"', "", svg))
    return [float(c.get(axis)) for c in root.iter("circle") if c.get("r") != "4"]


def test_dots_stand_in_proportion_and_gaps_are_left_out():
    series = Series(name="a <b>", values=[0.0, float("nan"), 0.5, 1.0])
    svg = draw_dots(["one", "two", "three & four", "five"], [DotPanel(title="t", series=[series])])
    low, middle, high = circles(svg, "cx")
    assert middle - low == pytest.approx(high - middle, abs=0.2)
    assert "three &amp; four" in svg


def test_series_have_a_legend_and_intervals():
    values = [Series(name=n, values=[0.2], low=[0.1], high=[0.4]) for n in ("seen", "decoded")]
    svg = draw_dots(["V1"], [DotPanel(title="t", series=values, chance=0.0)])
    assert svg.count('stroke-width="1.5"') == 2
    assert ">seen</text>" in svg
    assert 'class="chance"' in svg


def test_lines_rise_to_the_right():
    series = Series(name="a", x=[1, 2, 4], values=[0.1, 0.2, 0.4], low=[0, 0.1, 0.3], high=[1] * 3)
    panel = LinePanel(title="t", series=[series], x_label="trials", ticks={1: "10 min", 4: "2 h"})
    svg = draw_lines([panel])
    x, y = circles(svg, "cx"), circles(svg, "cy")
    assert (x[2] - x[1]) == pytest.approx(2 * (x[1] - x[0]), abs=0.2)
    assert (y[1] - y[2]) == pytest.approx(2 * (y[0] - y[1]), abs=0.2)
    assert "10 min" in svg


def test_links_join_the_points_of_two_series():
    pair = [
        Series(name=n, x=[0, 1], values=[y, 1], line=False) for n, y in (("true", 0), ("guess", 1))
    ]
    svg = draw_lines([LinePanel(title="t", series=pair, x_label="UMAP", links=True)])
    root = ElementTree.fromstring(re.sub(r' xmlns="[^"]*"', "", svg))
    links = [[line.get(k) for k in ("x1", "y1", "x2", "y2")] for line in root.iter("line")][-2:]
    x, y = ([c.get(k) for c in root.iter("circle") if c.get("r") != "4"] for k in ("cx", "cy"))
    assert links == [[x[0], y[0], x[2], y[2]], [x[1], y[1], x[3], y[3]]]


def test_images_are_embedded_row_by_row():
    images = [np.full((8, 8, 3), v, np.uint8) for v in (0, 255)]
    svg = draw_images({"V1": images, "V2": images[:1]}, side=40)
    ElementTree.fromstring(svg)
    assert svg.count("data:image/jpeg;base64,") == 3
