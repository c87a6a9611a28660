"""The section on brain and generator, from a small result."""

import copy
import dataclasses
import html
import re

import pytest

from mindeye2.reporting import render_page
from mindeye2.reporting.battery_section import battery_section


def scores(pixcorr, top1, *, p=None):
    values = {"pixcorr": pixcorr, "image_top1": top1}
    gap = {} if p is None else {"run_minus_this": {"mean": 0.471 - pixcorr, "p": p}}
    return {name: {"mean": value, **gap} for name, value in values.items()}


@pytest.fixture
def result():
    metric = {"higher_is_better": True, "chance": None}
    rows = {
        "run": scores(0.471, 0.54),
        "shuffled": scores(0.279, 0.01, p=0.001),
        "bottleneck_4": scores(0.43, 0.17, p=0.03),
        "bottleneck_16": scores(0.45, 0.32, p=0.5),
    }
    return {
        "n_images": 100,
        "metrics": {
            "pixcorr": {"title": "PixCorr", "percent": False, **metric},
            "image_top1": {"title": "Image given brain, top-1", "percent": True, **metric},
        },
        "controls": [
            {"name": n, "title": n.capitalize(), "explanation": f"About {n}.", "scores": s}
            for n, s in rows.items()
        ],
        "clusters": {
            "clusters": [{"test_images": 25, "all_images": 424, "within": 0.958}],
            "same_cluster": 0.46,
            "same_cluster_chance": 0.2,
        },
        "findings": [
            {"check": "brain", "level": "ok", "text": "The run beats chance."},
            {"check": "copies", "level": "warning", "text": "3 <b> test images have a copy."},
        ],
        "missing": ["Random betas need the model."],
    }


def page_text(content, result):
    page = render_page(dataclasses.replace(content, battery=battery_section(result)))
    body = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.S)
    return page, " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_warnings_come_first_and_text_is_escaped(content, result):
    page, seen = page_text(content, result)
    assert '<a href="#battery">Brain or generator</a>' in page
    assert seen.index("Warning: Copies 3 <b> test images") < seen.index("Brain The run beats")
    assert "Random betas need the model." in seen


def test_each_control_has_score_difference_and_star(content, result):
    _, seen = page_text(content, result)
    assert "Run 0.471 54.0 %" in seen
    assert "Shuffled 0.279 (+0.192*)" in seen
    assert "Bottleneck_4 0.430 (+0.041) " in seen  # .03 is above .05 / 2
    assert "About shuffled." in seen


def test_curves_stand_over_the_logarithm_of_the_dimensions(result):
    panel = battery_section(result).curves[1]
    assert panel.curves[0].x == (2, 4)
    assert panel.curves[0].y == (0.17, 0.32)
    assert panel.curves[1].y == (0.54, 0.54)
    assert panel.chance == 0.01


def test_what_was_not_computed_is_left_out(content, result):
    small = copy.deepcopy(result) | {"clusters": None, "missing": []}
    small["controls"] = small["controls"][:2]
    section = battery_section(small)
    assert section.curves == []
    _, seen = page_text(content, small)
    assert "clusters" not in seen
    assert "How much is the brain" not in page_of(content)


def page_of(content):
    return render_page(content)
