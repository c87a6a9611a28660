import pytest
import torch

from mindeye2.metrics.correlation import correlation_distance, row_correlation


@pytest.fixture
def pair(rng):
    preds, targets = torch.randn(2, 6, 40, generator=rng)
    return preds + targets, targets


def test_scale_and_offset_of_each_row_do_not_matter(pair, rng):
    preds, targets = pair
    scale, offset = torch.rand(2, 6, 1, generator=rng) + 0.5
    torch.testing.assert_close(
        row_correlation(scale * preds + offset, targets), row_correlation(preds, targets)
    )


def test_tiny_features_are_not_lost():
    """Features of an untrained network vary in the seventh digit."""
    targets = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64)
    torch.testing.assert_close(row_correlation(1e-30 * targets, targets), torch.ones(1).double())


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_a_constant_prediction_correlates_zero(value, pair):
    preds, targets = pair
    preds[2] = value
    assert row_correlation(preds, targets)[2] == 0
    assert correlation_distance(preds, targets)[2] == 1


def test_a_constant_true_image_is_refused(pair):
    preds, targets = pair
    targets[4] = 0.1
    with pytest.raises(ValueError, match=r"rows \[4\] of targets are constant"):
        row_correlation(preds, targets)
