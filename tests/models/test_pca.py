import math

import pytest
import torch
from sklearn.decomposition import PCA

from mindeye2.models.pca import pca_components


@pytest.fixture(params=[2**24, 60], ids=["at once", "in blocks"])
def blocks(request, monkeypatch):
    """Read everything at once, or few numbers at a time."""
    for module in ("pca", "moments"):
        monkeypatch.setattr(f"mindeye2.models.{module}.CHUNK", request.param)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("shape", [(20, 30), (30, 20)], ids=["more features", "more images"])
def test_pca_components_are_sklearn_s(shape, rng):
    values = torch.randn(shape, generator=rng) * torch.linspace(3, 0.1, shape[1]) + 1
    components, mean = pca_components(values, n_components=4)
    reference = PCA(n_components=4).fit(values.numpy())
    cosines = (torch.from_numpy(reference.components_) @ components).abs()
    torch.testing.assert_close(cosines, torch.eye(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(mean, values.mean(dim=0))
    assert math.isclose((components[:, 0] @ components[:, 0]).item(), 1, rel_tol=1e-4)


def test_more_components_than_images_are_refused():
    with pytest.raises(ValueError, match=r"5 PCA components need at least 6 images, got 5"):
        pca_components(torch.zeros(5, 9), n_components=5)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("n_features", [50, 12], ids=["more features", "more images"])
def test_components_of_some_images_are_written_where_asked(n_features, rng):
    values = torch.randn(40, n_features, generator=rng) * torch.linspace(3, 0.1, n_features)
    rows = torch.randperm(40, generator=rng)[:20]
    weight = torch.zeros(n_features, 8)
    components, mean = pca_components(values, n_components=3, rows=rows, out=weight[:, :3])
    expected, expected_mean = pca_components(values[rows], n_components=3)
    assert components.data_ptr() == weight.data_ptr()
    torch.testing.assert_close(weight[:, :3], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mean, expected_mean)
    assert not weight[:, 3:].any()


def test_the_smaller_side_is_decomposed(rng, monkeypatch):
    sizes, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda g: sizes.append(len(g)) or eigh(g))
    pca_components(torch.randn(300, 8, generator=rng), n_components=3)
    pca_components(torch.randn(9, 80, generator=rng), n_components=3)
    assert sizes == [8, 9]


def test_a_pca_too_large_for_lapack_is_refused(rng, monkeypatch):
    monkeypatch.setattr("mindeye2.models.closed_form.LARGEST_EIGH", 10)
    with pytest.raises(ValueError, match=r"PCA of 12 images needs the eigenvectors of .* 11 rows"):
        pca_components(torch.randn(12, 11, generator=rng), n_components=3)
