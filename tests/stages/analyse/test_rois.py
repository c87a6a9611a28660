"""Ablation of regions where one region is known to carry everything."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from torch import nn

from mindeye2.stages.analyse.decoding_folder import open_decoding
from mindeye2.stages.analyse.rois import RoisSettings, ablate_regions

SETTINGS = RoisSettings(min_voxels=5, n_random=2, n_components=20, n_resamples=100)


def only_v1(scores, voxels):
    rng = np.random.default_rng(0)
    driven = (voxels["roi"] == "V1").to_numpy()
    weights = rng.standard_normal((scores.shape[1], len(voxels)))
    return np.where(driven, scores @ weights, 0) + rng.standard_normal((len(scores), len(voxels)))


def two_way(preds, true):
    """Score rows by cosine, one pair at a time."""
    near = 1 - cdist(preds, true, "cosine")
    n = len(near)
    wins = [np.sum(near[i, i] > np.delete(near[i], i)) / (n - 1) for i in range(n)]
    return float(np.mean(wins))


@pytest.fixture
def carried(planted, job):
    """Return the scores of a world in which V1 alone responds to images."""
    found = ablate_regions(SETTINGS, job(planted(only_v1) / "decoded"))
    assert found.figure.startswith("<svg")
    return found.tables["rois"].set_index(["target", "region", "voxels"])["two_way"], found.lines


def test_the_region_that_carries_everything_is_found(carried):
    scores, lines = carried
    tokens = scores["lite0"]
    others = [r for r in tokens.index.get_level_values(0).unique() if r not in {"V1", "all"}]
    apart = [tokens[r, "only"] for r in others if r != "V1 to V4"]
    assert tokens["V1", "only"] > max(apart)
    assert tokens["V1", "without"] < tokens["V1", "only"]
    assert tokens["V1", "without"] == min(tokens[:, "without"])
    assert "only one region: all " in lines[1]
    assert "most is lost without V1" in lines[2]


def test_random_sets_are_as_large_as_the_region_and_all_is_scored_once(carried):
    scores, _ = carried
    tokens = scores["lite0"]
    assert set(tokens["all"].index) == {"only"}
    assert set(tokens["V1"].index) == {"only", "without", "random"}
    assert set(scores.index.get_level_values(0)) == {"lite0", "lowlevel"}


class FromFirstVoxels(nn.Module):
    """Predicts tokens on their principal axes from the first voxels; ignores the others."""

    def __init__(self, pca):
        super().__init__()
        self.pca = pca

    def forward(self, betas, *, subject):
        assert subject == "subj03"
        n = self.pca.n_components_
        flat = self.pca.inverse_transform(betas[:, :n].numpy())
        tokens = torch.from_numpy(flat).float().reshape(len(betas), 49, 128)
        return SimpleNamespace(backbone_tokens=tokens, lowlevel_latents=None)


def test_masked_voxels_enter_the_trained_decoder_as_zeros(planted, job):
    """With all voxels it decodes what the same model gives; without its voxels chance is left."""
    rng = np.random.default_rng(0)
    world = planted(lambda scores, voxels: rng.standard_normal((len(scores), len(voxels))))
    decoding = open_decoding(world / "decoded")
    bank = np.asarray(decoding.prepared.targets("lite0"), np.float32)
    flat = bank.reshape(len(bank), -1)
    training = decoding.training_trials().images.unique()
    pca = PCA(5, svd_solver="full").fit(flat[training])
    path = world / "data" / "betas" / "subj03.npy"
    betas = np.load(path)
    betas[:, :5] = pca.transform(flat[decoding.prepared.trials_of("subj03")["image"]])
    np.save(path, betas)
    run = SimpleNamespace(model=FromFirstVoxels(pca))
    settings = SETTINGS.model_copy(update={"method": "mask", "n_components": 5, "n_random": 0})
    found = ablate_regions(settings, job(world / "decoded", load_run=lambda _: run))
    table = found.tables["rois"].set_index(["region", "voxels"])
    test = decoding.trials().averaged()
    want = two_way(
        test.betas[:].numpy()[:, :5],
        pca.transform(flat[test.images]),
    )
    assert table.loc[("all", "only"), "two_way"] == pytest.approx(want, abs=1e-6)
    assert want == 1
    assert set(table["target"]) == {"lite0"}
    roi = decoding.prepared.voxels("subj03")["roi"].to_numpy()
    assert set(roi[:5]) == {"V1"}  # the voxels that are read
    assert table.loc[("V1", "only"), "two_way"] == pytest.approx(want, abs=1e-6)
    assert table.loc[("V2", "without"), "two_way"] == pytest.approx(want, abs=1e-6)
    assert table.loc[("V1", "without"), "two_way"] == pytest.approx(0.5)
