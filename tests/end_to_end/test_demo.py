"""The demo with the shipped decoder, on three subjects with few voxels."""

import json

import pytest

from mindeye2.demo import demo


@pytest.mark.slow
def test_the_demo_ends_with_a_page(tiny_demo, tmp_path):
    page = demo(tmp_path / "demo", assignments=tiny_demo, device="cpu")
    html = page.read_text()
    assert "Stimuli and reconstructions of one of eight" in html
    for arm in ("adapt", "scratch", "ridge"):
        assert arm in html
    costs = json.loads((tmp_path / "demo" / "costs.json").read_text())
    assert len(costs) == 12
    scores = json.loads((tmp_path / "demo" / "adapted-scores" / "summary.json").read_text())
    value = {row["name"]: row["value"] for row in scores}
    assert value["two_way_ceiling"] > 0.9  # the shipped decoder, from true tokens
