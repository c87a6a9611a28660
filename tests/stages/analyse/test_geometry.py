"""Representational similarity against SciPy, and the map with and without UMAP."""

import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from mindeye2.core.artifacts import write_json
from mindeye2.core.errors import ArtifactError
from mindeye2.stages.analyse.geometry import (
    GeometrySettings,
    compare_geometry,
    correlate_geometry,
)

SETTINGS = GeometrySettings(n_permutations=199)


@pytest.fixture(autouse=True)
def without_umap(monkeypatch):
    """Take umap-learn away, installed or not."""
    monkeypatch.setitem(sys.modules, "umap", None)


def noisy(true, noise):
    return true + noise * torch.randn(true.shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def true():
    return torch.randn(30, 40, generator=torch.Generator().manual_seed(0))


def test_similarity_is_scipy_s_rank_correlation_of_distances(true):
    preds = noisy(true, 1.0)
    found = correlate_geometry(preds, true, settings=SETTINGS)
    want = spearmanr(pdist(preds, "correlation"), pdist(true, "correlation"))[0]
    assert found["rsa"] == pytest.approx(want, abs=1e-6)
    assert found["rsa"] > found["chance_95"] > 0
    assert found["p"] == pytest.approx(1 / 200)


def test_unrelated_tokens_are_not_significant(true):
    other = torch.randn(30, 40, generator=torch.Generator().manual_seed(9))
    found = correlate_geometry(other, true, settings=SETTINGS)
    assert abs(found["rsa"]) < 0.2
    assert found["p"] > 0.05


def test_each_kind_of_tokens_is_compared_and_mapped(decoded, job):
    found = compare_geometry(SETTINGS, job(decoded))
    table = found.tables["geometry"].set_index("tokens")
    assert set(table.index) == {"backbone", "retrieval", "prior"}
    assert set(table["map"]) == {"principal components"}
    assert len(found.tables["points"]) == 3 * 10
    assert "pip install 'mindeye2[umap]'" in found.lines[-1]
    assert found.figure.count('class="title"') == 3


def test_umap_places_both_where_it_is_installed(decoded, job, monkeypatch):
    module = ModuleType("umap")
    module.UMAP = lambda **_: SimpleNamespace(fit_transform=lambda x: x[:, :2])
    monkeypatch.setitem(sys.modules, "umap", module)
    given = job(decoded)
    found = compare_geometry(SETTINGS, given)
    points = found.tables["points"]
    first = points[points["tokens"] == "backbone"][["x", "y", "true_x", "true_y"]].to_numpy()
    preds, true = (given.decoding.tokens(name)[:, :2] for name in ("backbone", "true"))
    np.testing.assert_allclose(first, torch.cat([preds, true], dim=1).numpy(), atol=1e-6)
    gap = (preds - true).norm(dim=1).mean()
    own = found.tables["geometry"].set_index("tokens").loc["backbone", "distance_to_own"]
    assert own == pytest.approx(float(gap), abs=1e-5)


def test_true_predictions_are_at_distance_zero(planted, job):
    world = planted(lambda scores, voxels: np.zeros((len(scores), len(voxels))))
    path = world / "decoded" / "tokens.safetensors"
    tokens = load_file(path)
    save_file({**tokens, "backbone": tokens["true"].clone()}, path)
    found = compare_geometry(SETTINGS, job(world / "decoded")).tables["geometry"]
    row = found.set_index("tokens").loc["backbone"]
    assert (row["rsa"], row["distance_to_own"]) == (pytest.approx(1), pytest.approx(0, abs=1e-4))


def test_missing_tokens_are_named(planted, job):
    world = planted(lambda scores, voxels: np.zeros((len(scores), len(voxels))))
    path = world / "decoded" / "tokens.safetensors"
    true = load_file(path)["true"]
    path.unlink()
    save_file({"true": true}, path)
    manifest = json.loads((world / "decoded" / "manifest.json").read_text())
    manifest["files"]["tokens.safetensors"]["bytes"] = path.stat().st_size
    write_json(world / "decoded" / "manifest.json", manifest)
    with pytest.raises(ArtifactError, match="predicted and true ones are needed"):
        compare_geometry(SETTINGS, job(world / "decoded"))
