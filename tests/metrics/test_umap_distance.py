import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from mindeye2.core.errors import MissingExtraError
from mindeye2.metrics.umap_distance import umap_distance


@pytest.fixture
def projection(monkeypatch):
    """Replace UMAP by the first two features, and return what it was made with."""
    seen = {}

    def umap(random_state, n_jobs):
        assert n_jobs == 1  # a seed allows no more, and UMAP warns
        seen["seed"] = random_state
        return SimpleNamespace(fit_transform=lambda x: seen.setdefault("rows", x)[:, :2])

    module = ModuleType("umap")
    module.UMAP = umap
    monkeypatch.setitem(sys.modules, "umap", module)
    return seen


def test_pairs_are_measured_in_one_projection_of_both(projection):
    targets = torch.tensor([[0.0, 0.0, 5.0], [1.0, 1.0, 5.0]])
    preds = targets + torch.tensor([3.0, 4.0, 100.0])
    assert umap_distance(preds, targets, seed=7).tolist() == [5, 5]
    assert projection["seed"] == 7
    torch.testing.assert_close(torch.from_numpy(projection["rows"]), torch.cat([targets, preds]))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match=r"mindeye2\[umap\]"):
        umap_distance(torch.eye(3), torch.eye(3))
