import numpy as np
import pytest
import torch

from mindeye2.models.moments import Moments, row_chunks


def moments(x, y, rows):
    sums = Moments.about(x[:3].mean(dim=0), y[:3].mean(dim=0))
    for chunk in rows.split(7):
        sums.add(x[chunk], y[chunk])
    return sums


@pytest.mark.parametrize("left_out", [0, 13])
def test_covariances_of_chunks_are_numpy_s(left_out, rng):
    """Also of the rows that are left when some are taken away."""
    x, y = torch.randn(40, 5, generator=rng) + 9, torch.randn(40, 2, generator=rng) - 4
    order = torch.randperm(40, generator=rng)
    found = moments(x, y, order) - moments(x, y, order[:left_out])
    kept = order[left_out:]
    expected = np.cov(torch.cat([x, y], dim=1)[kept].double().T.numpy()) * (len(kept) - 1)
    xx, xy = found.centred()
    assert found.n == len(kept)
    np.testing.assert_allclose(xx, expected[:5, :5], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(xy, expected[:5, 5:], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.x_mean, x[kept].mean(dim=0), rtol=1e-5)
    np.testing.assert_allclose(found.y_mean, y[kept].mean(dim=0), rtol=1e-5)


def test_chunks_hold_at_least_one_row(monkeypatch):
    monkeypatch.setattr("mindeye2.models.moments.CHUNK", 20)
    assert [len(c) for c in row_chunks(torch.arange(7), width=6)] == [3, 3, 1]
    assert [len(c) for c in row_chunks(torch.arange(2), width=60)] == [1, 1]
