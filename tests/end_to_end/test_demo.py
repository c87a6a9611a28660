"""The demo with the shipped decoder, on three subjects with few voxels."""

import json

import pytest

from mindeye2.demo import demo

TINY = {
    "data.n_train": 60,
    "data.n_validation": 12,
    "data.n_test": 10,
    "data.scene_size": 96,
    "data.brain_size": 64,
    "data.simulation.n_subjects": 3,
    "data.simulation.min_voxels": 60,
    "data.simulation.max_voxels": 90,
    "data.simulation.sessions": 2,
    "data.simulation.trials_per_session": 40,
    "pretrain.subjects": "[subj01, subj02]",
    "pretrain.optimizer.steps": 5,
    "pretrain.prior.optimizer.steps": 3,
    "adapt.subject": "subj03",
    "adapt.ridge.steps": 3,
    "adapt.full.steps": 3,
    "scratch.subjects": "[subj03]",
    "scratch.optimizer.steps": 5,
    "ridge.subjects": "[subj03]",
    "reconstruct.subject": "subj03",
    "evaluate.extractor_size": 64,
    "evaluate.n_resamples": 200,
}


@pytest.mark.slow
def test_the_demo_ends_with_a_page(tmp_path):
    page = demo(tmp_path / "demo", assignments=[f"{k}={v}" for k, v in TINY.items()], device="cpu")
    html = page.read_text()
    assert "Stimuli and reconstructions of one of eight" in html
    for arm in ("adapt", "scratch", "ridge"):
        assert arm in html
    costs = json.loads((tmp_path / "demo" / "costs.json").read_text())
    assert len(costs) == 12
    scores = json.loads((tmp_path / "demo" / "adapted-scores" / "summary.json").read_text())
    value = {row["name"]: row["value"] for row in scores}
    assert value["two_way_ceiling"] > 0.9  # the shipped decoder, from true tokens
