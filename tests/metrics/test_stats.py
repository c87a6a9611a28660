import dataclasses
import inspect
import itertools

import numpy as np
import pytest
import scipy.stats
import torch

from mindeye2.metrics.stats import bootstrap_interval, paired_difference, proportion_interval


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_the_interval_is_bca(rng):
    """Against Efron 1987 by hand: corrected for bias, and for skew by the jackknife."""
    scores = torch.rand(60, generator=rng).exp().numpy().astype(np.float64) ** 3
    rows = np.random.default_rng(0).integers(60, size=(20_000, 60))
    means = scores[rows].mean(axis=1)
    bias = scipy.stats.norm.ppf((means < scores.mean()).mean())
    jackknife = (scores.sum() - scores) / 59
    gap = jackknife.mean() - jackknife
    skew = (gap**3).sum() / (6 * (gap**2).sum() ** 1.5)
    z = bias + scipy.stats.norm.ppf([0.05, 0.95])
    expected = np.quantile(means, scipy.stats.norm.cdf(bias + z / (1 - skew * z)))
    found = bootstrap_interval(torch.from_numpy(scores), generator=rng, level=0.9)
    assert found.mean == pytest.approx(scores.mean())
    # Quantiles of resampled means are known to about 3 % of their spread.
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.06 * means.std())


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
    # Four standard errors of a coverage of .8 over 300 data sets.
    assert abs(covered / 300 - 0.8) < 4 * (0.8 * 0.2 / 300) ** 0.5


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
    """Against a loop that resamples rows and columns of the table."""
    table = torch.rand(3, 8, generator=rng)
    sample = np.random.default_rng(0)
    means = [
        table.numpy()[sample.integers(3, size=3)][:, sample.integers(8, size=8)].mean()
        for _ in range(4000)
    ]
    found = bootstrap_interval(table, generator=rng)
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)


def test_subjects_seeds_and_images_are_crossed(rng):
    """Against a loop that resamples the three axes of the table."""
    table = torch.rand(12, 2, 8, generator=rng) + torch.rand(12, 1, 1, generator=rng)
    sample = np.random.default_rng(0)
    means = []
    for _ in range(4000):
        drawn = table.numpy()
        for axis in range(3):
            rows = sample.integers(drawn.shape[axis], size=drawn.shape[axis])
            drawn = drawn.take(rows, axis=axis)
        means.append(drawn.mean())
    found = bootstrap_interval(table, generator=rng)
    assert found.mean == pytest.approx(float(table.mean()))
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.03)


def test_the_p_of_subjects_is_that_of_a_paired_t_test(rng):
    a, b = torch.rand(2, 6, 3, 20, generator=rng).double()
    found = paired_difference(a + 0.05, b, generator=rng)
    means = ((x.mean(dim=(1, 2))).numpy() for x in (a + 0.05, b))
    assert found.p == pytest.approx(scipy.stats.ttest_rel(*means).pvalue)
    means_alone = paired_difference(
        *(x.mean(dim=2, keepdim=True) for x in (a, a - 0.1)), generator=rng
    )
    assert (means_alone.p, means_alone.mean) == (0, pytest.approx(0.1))
    with pytest.raises(ValueError, match=r"at least 3 subjects; got the shape \(2, 3, 20\)"):
        paired_difference(a[:2], b[:2], generator=rng)


def test_the_p_is_the_fraction_of_sign_flips_that_are_as_extreme(rng):
    a, b = torch.rand(2, 10, generator=rng).double()
    a = a + 0.2
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=10))).double()
    flipped = (signs @ (a - b) / 10).abs()
    extreme = flipped >= (a - b).mean().abs() - 1e-12
    found = paired_difference(a, b, generator=rng)
    assert found.mean == pytest.approx(float((a - b).mean()))
    assert found.p == pytest.approx(float(extreme.double().mean()))


def test_sign_flips_that_tie_with_the_observed_count_as_extreme(rng):
    """All differences alike: 2 of the 2**6 sign patterns reach the mean, up to rounding."""
    found = paired_difference(torch.full((6,), 0.4), torch.full((6,), 0.3), generator=rng)
    assert found.p == pytest.approx(2 / 64)


def test_arms_that_are_equal_do_not_differ(rng):
    scores = torch.rand(20, generator=rng)
    found = paired_difference(scores, scores, generator=rng)
    assert dataclasses.astuple(found) == (0, 0, 0, 1)


def test_the_difference_is_that_of_the_first_arm(rng):
    a, b = torch.rand(3, 50, generator=rng), torch.rand(3, 50, generator=rng) + 0.5
    found = paired_difference(a, b, generator=rng)
    assert found.low < found.mean < found.high < 0
    assert found.p == pytest.approx(2 / 10_001)


def test_pairing_takes_out_what_images_share(rng):
    shared, a, b = torch.randn(3, 200, generator=rng)
    found = paired_difference(3 * shared + 0.1 * a, 3 * shared + 0.1 * b, generator=rng)
    alone = bootstrap_interval(3 * shared + 0.1 * a, generator=rng)
    assert found.high - found.low < (alone.high - alone.low) / 10


@pytest.mark.parametrize(("hits", "n"), [(0, 8), (8, 8), (17, 20), (1, 3)])
def test_the_interval_of_a_proportion_is_wilson_s(hits, n):
    module = pytest.importorskip("statsmodels.stats.proportion")
    found = proportion_interval(hits / n, n=n, level=0.9)
    wanted = module.proportion_confint(hits, n, alpha=0.1, method="wilson")
    assert (found.low, found.high) == pytest.approx(wanted, abs=1e-12)


def test_a_proportion_of_no_trials_is_refused():
    with pytest.raises(ValueError, match=r"at least one trial, got 0\.5 of 0"):
        proportion_interval(0.5, n=0)


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
        # Unwrapped: in tests, the checker of shapes would raise first.
        inspect.unwrap(paired_difference)(good, good[:4], generator=rng)
