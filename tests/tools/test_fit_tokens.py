"""The fit of the shipped token projection, against scikit-learn."""

import importlib.util
from pathlib import Path

import pytest
import torch
from sklearn.decomposition import PCA

from mindeye2.encoders.tokens import cells

N_COMPONENTS = {10: 3, 4: 2}


@pytest.fixture
def fit_projection():
    path = Path(__file__).parents[2] / "tools" / "fit_tokens.py"
    spec = importlib.util.spec_from_file_location("fit_tokens", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fit_projection


def test_components_are_sklearn_s_and_scores_are_z_scored(fit_projection, rng):
    maps = {
        10: torch.randn(20, 6, 14, 14, generator=rng),
        4: torch.randn(20, 4, 7, 7, generator=rng),
    }
    projection = fit_projection({b: cells(m) for b, m in maps.items()}, n_components=N_COMPONENTS)
    reference = PCA(n_components=3).fit(cells(maps[10]).flatten(0, 1).numpy())
    cosines = (torch.from_numpy(reference.components_) @ projection.components[10]).abs()
    torch.testing.assert_close(cosines, torch.eye(3), rtol=0, atol=2e-3)
    tokens = projection(list(maps.values()))
    assert tokens.shape == (20, 49, 5)
    torch.testing.assert_close(tokens.mean(dim=0), torch.zeros(49, 5), rtol=0, atol=1e-4)
    torch.testing.assert_close(tokens.std(dim=0), torch.ones(49, 5), rtol=1e-3, atol=0)
