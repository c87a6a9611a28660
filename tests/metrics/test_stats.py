import dataclasses
import inspect

import numpy as np
import pytest
import scipy.stats
import torch

from mindeye2.metrics.identification import two_way_identification
from mindeye2.metrics.pixels import pixcorr
from mindeye2.metrics.ranking import match_ranks, top_k_hits
from mindeye2.metrics.stats import (
    CHANCE,
    bootstrap_interval,
    mismatched_level,
    paired_difference,
)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_the_interval_agrees_with_scipy(rng):
    scores = torch.rand(60, generator=rng)
    reference = scipy.stats.bootstrap(
        (scores.numpy(),), np.mean, method="percentile", rng=0, confidence_level=0.9
    ).confidence_interval
    found = bootstrap_interval(scores, generator=rng, level=0.9)
    assert found.mean == pytest.approx(float(scores.mean()))
    assert (found.low, found.high) == pytest.approx(reference, abs=3e-3)
    assert (found.level, found.n_images) == (0.9, 60)


def test_the_generator_decides_the_interval(rng):
    scores = torch.rand(30, generator=rng)
    first, again, other = (bootstrap_interval(scores, generator=seeded(s)) for s in (1, 1, 2))
    assert first == again != other


def test_the_interval_covers_the_truth_as_often_as_it_says():
    covered = 0
    for seed in range(300):
        scores = torch.randn(40, generator=seeded(seed)).exp()
        found = bootstrap_interval(scores, generator=seeded(seed), level=0.8, n_resamples=300)
        covered += found.low < np.exp(0.5) < found.high
    # A percentile interval of skewed scores is a little too narrow at 40 images.
    assert 0.72 < covered / 300 < 0.84


def test_seeds_widen_the_interval_only_where_they_differ(rng):
    images = torch.rand(100, generator=rng)
    alike = bootstrap_interval(images.expand(3, -1), generator=rng)
    alone = bootstrap_interval(images, generator=rng)
    moved = images + torch.tensor([[-0.3], [0.0], [0.3]])
    apart = bootstrap_interval(moved, generator=rng)
    assert alike.mean == pytest.approx(apart.mean) == alone.mean
    assert alike.high - alike.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert apart.high - apart.low > 3 * (alone.high - alone.low)


def test_seeds_and_images_are_crossed(rng):
    """Against a loop that draws rows and columns of the table."""
    table = torch.rand(3, 8, generator=rng)
    draw = np.random.default_rng(0)
    means = [
        table.numpy()[draw.integers(3, size=3)][:, draw.integers(8, size=8)].mean()
        for _ in range(4000)
    ]
    found = bootstrap_interval(table, generator=rng)
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)


def test_the_sign_flip_p_agrees_with_scipy(rng):
    a, b = torch.rand(2, 14, generator=rng)
    a = a + 0.15
    reference = scipy.stats.permutation_test(
        ((a - b).numpy(),), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    found = paired_difference(a, b, generator=rng)
    assert found.mean == pytest.approx(float((a - b).mean()))
    assert found.p == pytest.approx(reference.pvalue, abs=0.01)


def test_sign_flips_that_tie_with_the_observed_count_as_extreme(rng):
    """All differences alike: 2 of the 2**6 sign patterns reach the mean, up to rounding."""
    found = paired_difference(torch.full((6,), 0.4), torch.full((6,), 0.3), generator=rng)
    assert found.p == pytest.approx(2 / 64, abs=0.01)


def test_arms_that_are_equal_do_not_differ(rng):
    scores = torch.rand(20, generator=rng)
    found = paired_difference(scores, scores, generator=rng)
    assert dataclasses.astuple(found) == (0, 0, 0, 0.95, 20, 1)


def test_the_difference_is_that_of_the_first_arm(rng):
    a, b = torch.rand(3, 50, generator=rng), torch.rand(3, 50, generator=rng) + 0.5
    found = paired_difference(a, b, generator=rng)
    assert found.low < found.mean < found.high < 0
    assert found.p == pytest.approx(1 / 10_001)


def test_pairing_takes_out_what_images_share(rng):
    shared, a, b = torch.randn(3, 200, generator=rng)
    found = paired_difference(3 * shared + 0.1 * a, 3 * shared + 0.1 * b, generator=rng)
    alone = bootstrap_interval(3 * shared + 0.1 * a, generator=rng)
    assert found.high - found.low < (alone.high - alone.low) / 10


def test_chance_levels_are_what_random_scores_reach(rng):
    pred, target = torch.randn(2, 300, 20, generator=rng)
    similarity = torch.rand(300, 300, generator=rng)
    reached = {
        "two_way_identification": two_way_identification(pred, target),
        "top_k_accuracy": top_k_hits(similarity, k=30),
        "match_ranks": match_ranks(similarity),
    }
    assert set(reached) == set(CHANCE)
    for name, scores in reached.items():
        error = float(scores.std()) / 300**0.5
        assert abs(float(scores.mean()) - CHANCE[name](300, 30)) < 4 * error, name


def test_a_mismatched_level_is_the_floor_that_a_mean_image_leaves(rng):
    mean = torch.rand(1, 3, 16, 16, generator=rng)
    target = mean + 0.5 * torch.rand(8, 3, 16, 16, generator=rng)
    floor = mismatched_level(pixcorr, target, target, n_shifts=100)
    others = [
        [float(pixcorr(target[[i]], target[[j]])) for j in range(8) if j != i] for i in range(8)
    ]
    assert floor.tolist() == pytest.approx([sum(row) / 7 for row in others], abs=1e-4)
    assert 0.3 < floor.mean() < 0.95


def test_bad_scores_are_named(rng):
    good = torch.rand(5, generator=rng)
    with pytest.raises(ValueError, match=r"scores must hold.*at least 2 images.*\(1,\)"):
        bootstrap_interval(good[:1], generator=rng)
    with pytest.raises(ValueError, match="scores hold NaN"):
        bootstrap_interval(good / 0, generator=rng)
    with pytest.raises(ValueError, match=r"between 0 and 1, got 95\.0\. 95 % is 0\.95"):
        bootstrap_interval(good, generator=rng, level=95.0)
    with pytest.raises(ValueError, match="at least 100, got 10"):
        bootstrap_interval(good, generator=rng, n_resamples=10)
    with pytest.raises(ValueError, match=r"one shape, got \(5,\) and \(4,\)"):
        # Unwrapped: in tests, the checker of shapes would speak first.
        inspect.unwrap(paired_difference)(good, good[:4], generator=rng)
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        mismatched_level(pixcorr, torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
