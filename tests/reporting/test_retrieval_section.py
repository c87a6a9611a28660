"""One retrieval number stands on the page; the others are folded away."""

import dataclasses
import html
import re

import pytest

from mindeye2.reporting import render_page
from mindeye2.reporting.retrieval_section import gallery_warnings, retrieval_table


@pytest.fixture
def result():
    row = {"scaling": "Raw cosine", "k": 5, "pool": 73000, "chance": 5 / 73000}
    return {
        "n_gallery": 73000, "gallery": "nsd", "training_images": 27000,
        "rows": [{**row, "mean": 0.25, "low": 0.2, "high": 0.3}],
    }  # fmt: skip


def test_variants_are_folded_away(content, result):
    table = retrieval_table(result)
    page = render_page(dataclasses.replace(content, retrieval=table))
    (folded,) = re.findall(
        r"<details[^>]*>\s*<summary>Retrieval by gallery.*?</details>", page, re.S
    )
    seen = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", folded)).split())
    assert "Raw cosine, top-5 of 73000 25.0 % 20.0 % 30.0 %" in seen
    assert "The gallery holds 73000 images" in seen


def test_a_gallery_with_training_images_says_so(result):
    (warning,) = gallery_warnings(result)
    assert "73000 images (nsd) holds 27000 images that were shown in training" in warning
    assert gallery_warnings({**result, "training_images": 0}) == []
    assert gallery_warnings(None) == []


def test_without_variants_there_is_no_table(content):
    assert "Retrieval by gallery" not in render_page(content)
