import pytest
import scipy.spatial.distance
import scipy.stats
import torch

from mindeye2.metrics.correlation import correlation_distance, row_correlation


@pytest.fixture
def pair(rng):
    pred, target = torch.randn(2, 6, 40, generator=rng)
    return pred + target, target


def test_correlation_agrees_with_scipy(pair):
    reference = [scipy.stats.pearsonr(p, t).statistic for p, t in zip(*pair, strict=True)]
    assert row_correlation(*pair).tolist() == pytest.approx(reference, abs=1e-6)


def test_distance_agrees_with_scipy(pair):
    rows = zip(*pair, strict=True)
    reference = [scipy.spatial.distance.correlation(p, t) for p, t in rows]
    assert correlation_distance(*pair).tolist() == pytest.approx(reference, abs=1e-6)


def test_scale_and_offset_of_each_row_do_not_matter(pair, rng):
    pred, target = pair
    scale, offset = torch.rand(2, 6, 1, generator=rng) + 0.5
    torch.testing.assert_close(
        row_correlation(scale * pred + offset, target), row_correlation(pred, target)
    )


def test_tiny_features_are_not_lost():
    """Features of an untrained network vary in the seventh digit."""
    target = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64)
    torch.testing.assert_close(row_correlation(1e-30 * target, target), torch.ones(1).double())


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_a_constant_prediction_correlates_zero(value, pair):
    pred, target = pair
    pred[2] = value
    assert row_correlation(pred, target)[2] == 0
    assert correlation_distance(pred, target)[2] == 1


def test_a_constant_true_image_is_refused(pair):
    pred, target = pair
    target[4] = 0.1
    with pytest.raises(ValueError, match=r"rows \[4\] of target are constant"):
        row_correlation(pred, target)
