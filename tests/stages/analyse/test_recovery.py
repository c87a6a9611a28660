"""Recovery of components of which some are right, one repeats wrongly, and one is noise."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.decomposition import PCA
from torch import nn

from mindeye2.stages.analyse import recovery
from mindeye2.stages.analyse.decoding_folder import open_decoding
from mindeye2.stages.analyse.recovery import RecoverySettings

SETTINGS = RecoverySettings(n_components=4)


class Planted(nn.Module):
    """Gives the tokens that belong to the scores in the first four voxels."""

    def __init__(self, pca):
        super().__init__()
        self.pca = pca

    def forward(self, betas, *, subject):
        assert subject == "subj03"
        flat = self.pca.inverse_transform(betas[:, :4].numpy())
        tokens = torch.from_numpy(flat).float().reshape(len(betas), 49, 128)
        return SimpleNamespace(backbone_tokens=tokens)


@pytest.fixture
def profile(planted, job):
    """Return table and lines: two components are right, the third repeats, the fourth is noise."""
    world = planted(lambda scores, voxels: np.zeros((len(scores), len(voxels))))
    decoding = open_decoding(world / "decoded")
    bank = np.asarray(decoding.prepared.targets("lite0"), np.float32)
    flat = bank.reshape(len(bank), -1)
    pca = PCA(4, svd_solver="full").fit(flat[decoding.training_trials().images.unique()])
    truth = pca.transform(flat)
    rng = np.random.default_rng(0)
    wrong = truth[rng.permutation(len(bank))]
    shown = decoding.prepared.trials_of("subj03")["image"].to_numpy()
    betas = np.load(world / "data" / "betas" / "subj03.npy")
    betas[:, :2] = truth[shown, :2]
    betas[:, 2] = wrong[shown, 2]
    betas[:, 3] = truth[:, 3].std() * rng.standard_normal(len(shown))
    np.save(world / "data" / "betas" / "subj03.npy", betas)
    trials = decoding.trials().averaged()
    model = Planted(pca)
    tokens = load_file(world / "decoded" / "tokens.safetensors")
    mean = model(trials.betas[:], subject="subj03").backbone_tokens
    order = torch.searchsorted(trials.images, decoding.images)
    tokens["backbone"] = mean[order].half()
    save_file(tokens, world / "decoded" / "tokens.safetensors")
    found = recovery.profile_recovery(
        SETTINGS,
        job(world / "decoded", load_run=lambda _: SimpleNamespace(model=model)),
    )
    assert found.figure.startswith("<svg")
    images = decoding.images.numpy()
    return (
        found.tables["recovery"],
        found.lines,
        truth[images],
        pca.transform(mean[order].flatten(1)),
    )


def test_right_repeating_and_noisy_components_are_told_apart(profile):
    table, lines, _, _ = profile
    assert table["recovered"].tolist() == [True, True, False, False]
    assert (table["reliability"][:3] > 0.95).all()
    assert table["reliability"][3] < 0.5
    assert (table["correlation"][:2] > 0.99).all()
    assert lines[0].startswith("2 of 4 components are recovered")
    assert "1 components repeat without being recovered (3)" in lines[2]


def test_correlations_are_those_of_numpy(profile):
    table, _, truth, preds = profile
    for k in range(4):
        want = np.corrcoef(preds[:, k], truth[:, k])[0, 1]
        assert table["correlation"][k] == pytest.approx(want, abs=5e-3)
        ratio = preds[:, k].std() / truth[:, k].std()
        assert table["sd_ratio"][k] == pytest.approx(ratio, abs=5e-3)


def test_a_constant_component_is_not_recovered():
    true = np.random.default_rng(0).standard_normal((20, 2)).astype(np.float32)
    preds = true.copy()
    preds[:, 1] = 3
    found = recovery._correlations(preds, true, level=0.05)
    assert found["recovered"].tolist() == [True, False]
    assert found["correlation"][1] == 0


def test_reliability_needs_repeats():
    scores = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    assert np.isnan(recovery._reliability(scores, np.arange(5))).all()
