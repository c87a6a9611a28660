"""Noise ceilings of planted signals and noise, and against NumPy."""

import numpy as np
import pytest
import torch

from mindeye2.metrics import top_k_hits, two_way_identification
from mindeye2.metrics.noise_ceiling import Halves, correlation_ceiling, identification_ceiling
from mindeye2.metrics.ranking import cosine_similarity

N = 100
SCALES = torch.arange(1.0, 41.0).rsqrt()
"""Standard deviations of 40 dimensions of the signal; noise is the same in all."""


def top_1(preds, gallery):
    return top_k_hits(cosine_similarity(preds, gallery), k=1)


def planted(rng, *, noise, signal=1.0, n_first=2, n_second=1):
    """Return halves of the presentations, the true signal, and the averages."""
    true = signal * SCALES * torch.randn(N, 40, generator=rng)
    first, second = (
        true + noise / n**0.5 * torch.randn(N, 40, generator=rng) for n in (n_first, n_second)
    )
    counts = (torch.full((N,), n) for n in (n_first, n_second))
    return Halves(first, second, *counts), true


@pytest.mark.parametrize(("noise", "slack"), [(0.2, 0.03), (0.7, 0.12), (1.2, 0.15)])
@pytest.mark.parametrize("score", [top_1, two_way_identification])
def test_the_score_among_noiseless_patterns_lies_between_the_bounds(rng, noise, slack, score):
    bounds, truth = [], []
    for _ in range(10):
        halves, true = planted(rng, noise=noise)
        ceiling = identification_ceiling(halves, score)
        bounds.append((ceiling.low, ceiling.high))
        truth.append(float(score(halves.average(), true).mean()))
    low, high = np.mean(bounds, axis=0)
    assert low <= np.mean(truth) <= high <= np.mean(truth) + slack
    if noise > 0.5:
        assert low < np.mean(truth) - 0.02


def test_the_lower_bound_is_one_half_among_the_other(rng):
    halves, _ = planted(rng, noise=1.0)
    a, b = (x.double().numpy() for x in (halves.first, halves.second))
    hits = []
    for preds, gallery in ((a, b), (b, a)):
        near = preds @ (gallery / np.linalg.norm(gallery, axis=1, keepdims=True)).T
        hits.append((near.argmax(axis=1) == np.arange(N)).mean())
    assert identification_ceiling(halves, top_1).low == pytest.approx(np.mean(hits))


def test_without_signal_the_bounds_stay_near_chance(rng):
    """The average of pure noise identifies itself; that is no ceiling."""
    found = []
    for _ in range(10):
        halves, _ = planted(rng, noise=1.0, signal=0.0)
        found.append(identification_ceiling(halves, two_way_identification).high)
        assert float(two_way_identification(halves.average(), halves.average()).mean()) == 1
    assert np.mean(found) < 0.65


def test_without_noise_every_image_is_found(rng):
    ceiling = identification_ceiling(planted(rng, noise=0.0)[0], top_1)
    assert (ceiling.low, ceiling.high) == (1.0, 1.0)


def test_the_noise_has_the_variance_of_that_of_the_average_and_is_independent_of_it(rng):
    halves, true = planted(rng, noise=1.0, n_first=2, n_second=1)
    errors, noise = (halves.average() - true).flatten(), halves.noise().flatten()
    np.testing.assert_allclose([errors.var(), noise.var()], 1 / 3, rtol=0.06)
    assert abs(float(torch.corrcoef(torch.stack([errors, noise]))[0, 1])) < 0.06


def test_correlations_are_bounded_by_the_reliability_of_spearman_and_brown(rng):
    true = torch.randn(12, 4000, generator=rng)
    first, second = (true + torch.randn(12, 4000, generator=rng) for _ in range(2))
    ones = torch.ones(12, dtype=torch.int64)
    found = correlation_ceiling(Halves(first, second, ones, ones))
    r = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)])
    assert found.low == pytest.approx(r.mean(), abs=1e-6)
    assert found.high == pytest.approx(np.sqrt(2 * r / (1 + r)).mean(), abs=2e-3)
    average = (first + second) / 2
    truth = [np.corrcoef(a, b)[0, 1] for a, b in zip(true, average, strict=True)]
    assert found.high == pytest.approx(np.mean(truth), abs=0.01)


def test_one_image_is_refused(rng):
    halves, _ = planted(rng, noise=1.0)
    one = Halves(halves.first[:1], halves.second[:1], halves.n_first[:1], halves.n_second[:1])
    with pytest.raises(ValueError, match="at least two images"):
        identification_ceiling(one, top_1)
