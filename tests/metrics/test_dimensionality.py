"""Counts of dimensions, against spectra that are known."""

import numpy as np
import pytest
import torch

from mindeye2.metrics.dimensionality import effective_rank, participation_ratio


def with_spectrum(variances, *, n=40, width=60):
    """Return rows about an offset whose principal components have these variances."""
    rng = np.random.default_rng(0)
    left = rng.standard_normal((n, len(variances)))
    left, _ = np.linalg.qr(left - left.mean(axis=0))
    right, _ = np.linalg.qr(rng.standard_normal((width, len(variances))))
    return torch.from_numpy(3 + left * np.sqrt(variances) @ right.T)


@pytest.mark.parametrize("width", [60, 20])
def test_equal_components_count_one_each(width):
    rows = with_spectrum(np.ones(7), width=width)
    assert effective_rank(rows) == pytest.approx(7)
    assert participation_ratio(rows) == pytest.approx(7)


def test_unequal_components_count_by_the_formulas():
    rows = with_spectrum(np.array([6.0, 3.0, 1.0]))
    p = np.array([0.6, 0.3, 0.1])
    assert effective_rank(rows) == pytest.approx(np.exp(-(p * np.log(p)).sum()))
    assert participation_ratio(rows) == pytest.approx(1 / (p**2).sum())


def test_predictions_that_are_all_alike_have_no_dimension():
    rows = torch.randn(1, 4, 5).expand(9, 4, 5) + 1e-8
    assert effective_rank(rows) == participation_ratio(rows) == 0


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match=r"rows \[1\] of rows hold NaN"):
        effective_rank(torch.tensor([[0.0, 1], [float("nan"), 0]]))
