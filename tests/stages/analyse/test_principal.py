import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from mindeye2.stages.analyse.principal import fit_axes
from mindeye2.training.trials import TargetBank


@pytest.fixture
def bank():
    values = np.random.default_rng(0).standard_normal((40, 3, 4)) * np.arange(1, 5)
    return TargetBank(values.astype(np.float32))


def test_scores_are_those_of_scikit_learn(bank):
    images = torch.arange(0, 40, 2)
    axes = fit_axes(bank, images, n_components=5, generator=torch.Generator().manual_seed(0))
    flat = bank.values.reshape(40, -1)
    want = PCA(5, svd_solver="full").fit(flat[::2]).transform(flat)
    found = axes.of_images(bank, torch.arange(40)).numpy()
    signs = np.sign((found * want).sum(axis=0))
    np.testing.assert_allclose(found, want * signs, atol=1e-4)


def test_there_are_fewer_components_than_images(bank):
    few = fit_axes(
        bank, torch.arange(4), n_components=50, generator=torch.Generator().manual_seed(0)
    )
    assert few(bank[torch.arange(2)]).shape == (2, 3)
