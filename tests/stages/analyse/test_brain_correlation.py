"""Brain correlation on responses of which one region alone is driven by the image."""

import numpy as np
import pytest
import torch

from mindeye2.core.errors import ArtifactError
from mindeye2.encoders.gnet import build_gnet
from mindeye2.stages.analyse import brain_correlation
from mindeye2.stages.analyse.brain_correlation import (
    BrainCorrelationSettings,
    correlate_with_brain,
)

SETTINGS = BrainCorrelationSettings(n_resamples=100, min_voxels=5, n_folds=3)


def only_v1(scores, voxels):
    rng = np.random.default_rng(0)
    driven = (voxels["roi"] == "V1").to_numpy()
    weights = rng.standard_normal((scores.shape[1], len(voxels)))
    return np.where(driven, scores @ weights, 0) + rng.standard_normal((len(scores), len(voxels)))


@pytest.fixture
def table(planted, job):
    """Return the table of a world in which V1 alone responds to images."""
    world = planted(only_v1)
    found = correlate_with_brain(SETTINGS, job(world / "decoded"))
    assert found.figure.startswith("<svg")
    return found.tables["brain_correlation"], found.lines


def test_the_region_that_responds_is_found(table):
    scores, lines = table
    seen = scores[scores["images"] == "seen"].set_index("region")
    assert seen.loc["V1", "value"] > 0.5
    assert seen.loc["V1", "value"] > seen.loc["V1", "other_images"] + 0.3
    assert (seen["value"].drop(["V1", "V1 to V4", "all"]).abs() < 0.3).all()
    assert seen.loc["V1", "held_out"] > seen["held_out"].drop("V1").max()
    assert (seen["low"] <= seen["value"]).all()
    assert "10 images; predicted by ridge" in lines[0]


def test_the_noise_ceiling_is_high_where_the_image_drives_responses(table):
    """V1's responses are signal and noise of one variance, averaged over two presentations."""
    scores, lines = table
    seen = scores[scores["images"] == "seen"].set_index("region")
    assert (seen["noise_ceiling_low"] <= seen["noise_ceiling_high"]).all()
    assert seen.loc["V1", "noise_ceiling_high"] > seen.loc["V1", "value"]
    others = seen.drop(["V1", "V1 to V4", "all"])
    assert seen.loc["V1", "noise_ceiling_low"] > others["noise_ceiling_low"].max()
    assert any(line.startswith("noise ceiling over all voxels: ") for line in lines)


def test_generated_noise_correlates_less_than_the_seen_image(table):
    """The decoder of these tests generates noise."""
    scores, _ = table
    v1 = scores[scores["region"] == "V1"].set_index("images")
    assert set(v1.index) == {"seen", "unclip", "refined", "lowlevel", "blended", "ceiling"}
    assert v1.loc["seen", "value"] > v1.loc["unclip", "value"]


def test_gnet_predicts_where_its_weights_are(decoded, job, tmp_path, monkeypatch, prepared):
    """The responses of a GNet of random weights are correlated as they are."""
    n_voxels = prepared.n_voxels["subj03"]
    with torch.device("cpu"):
        gnet = build_gnet(
            trunk_width=2, block_width=4, n_voxels=n_voxels, size=227, sizes=[27, 13]
        )
    monkeypatch.setattr(brain_correlation, "read_gnet", lambda *_, **__: gnet.eval())
    (tmp_path / "gnet").mkdir()
    constant = torch.arange(n_voxels).float()
    monkeypatch.setattr(
        brain_correlation, "predict_responses", lambda _, batch: constant.expand(len(batch), -1)
    )
    settings = SETTINGS.model_copy(update={"model": "gnet", "networks": tmp_path})
    done = job(decoded)
    table = correlate_with_brain(settings, done).tables["brain_correlation"]
    measured = done.decoding.trials().averaged().betas[:].numpy()
    want = np.mean([np.corrcoef(constant, row)[0, 1] for row in measured])
    whole = table[table["region"] == "all"]
    np.testing.assert_allclose(whole["value"], want, atol=1e-5)
    np.testing.assert_allclose(whole["other_images"], want, atol=1e-5)


def test_what_is_missing_is_named(decoded, job):
    gnet = SETTINGS.model_copy(update={"model": "gnet"})
    with pytest.raises(ArtifactError, match=r"import --released gnet.*or leave model=ridge"):
        correlate_with_brain(gnet, job(decoded))
    other = SETTINGS.model_copy(update={"encoder": "bigg"})
    with pytest.raises(ArtifactError, match="no targets of the encoder 'bigg'"):
        correlate_with_brain(other, job(decoded))
