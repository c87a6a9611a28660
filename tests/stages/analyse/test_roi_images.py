"""Images from one region, where the encoding model knows which image drives it."""

import numpy as np
import pytest

from mindeye2.stages.analyse.decoding_folder import open_decoding
from mindeye2.stages.analyse.roi_images import RoiImagesSettings, generate_roi_images

SETTINGS = RoiImagesSettings(min_voxels=5, n_samples=2, n_folds=3, value=2.0)


def by_component(scores, voxels):
    """Let V1 respond to the first component of the images, V2 to the opposite of it."""
    roi = voxels["roi"].to_numpy()
    gain = np.select([roi == "V1", roi == "V2"], [1.0, -1.0], 0.0)
    noise = np.random.default_rng(0).standard_normal((len(scores), len(voxels)))
    return scores[:, :1] * gain + 0.2 * noise


@pytest.fixture
def drawn(planted, job):
    """Return results of a decoder that gives the training image that drives V1 most, always."""
    world = planted(by_component)
    decoding = open_decoding(world / "decoded")
    trials = decoding.training_trials().averaged()
    roi = decoding.prepared.voxels("subj03")["roi"].to_numpy()
    best = int(trials.images[trials.betas[:].numpy()[:, roi == "V1"].mean(axis=1).argmax()])
    seen = {}

    def decode(decoding, betas, **_):
        seen["betas"] = betas
        image = np.asarray(decoding.prepared.images[best])
        return np.stack([image] * len(betas)), ["a dog"] * len(betas)

    found = generate_roi_images(SETTINGS, job(world / "decoded", decode=decode))
    return found, seen["betas"], roi


def test_one_region_at_a_time_is_active(drawn):
    found, betas, roi = drawn
    table = found.tables["roi_images"]
    assert len(betas) == len(table) == 2 * table["region"].nunique()
    for row, region in zip(table["row"], table["region"], strict=True):
        assert betas[row].tolist() == [2.0 if r == region else 0.0 for r in roi]


def test_the_response_tells_a_region_that_is_driven_from_one_that_is_not(drawn):
    found, _, _ = drawn
    percentile = found.tables["roi_images"].groupby("region")["percentile"].mean()
    assert percentile["V1"] > 90
    assert percentile["V2"] < 10
    assert "V1: a dog" in found.lines[-1]
    assert found.figure.count("data:image/jpeg") == len(found.tables["roi_images"])
