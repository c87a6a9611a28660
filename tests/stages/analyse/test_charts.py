"""Figures as XML: each value stands where its axis says."""

import re
from xml.etree import ElementTree

import pytest

from mindeye2.stages.analyse.charts import (
    DotPanel,
    Series,
    draw_dots,
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
