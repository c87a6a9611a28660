import pytest
import statsmodels.stats.multitest
import statsmodels.stats.weightstats
import torch
from scipy import stats

from mindeye2.metrics.comparison import compare_scores

N = 40


@pytest.fixture
def runs(rng):
    """Return a run and another that is better, alike and worse in three metrics."""
    base = {name: torch.rand(N, generator=rng) for name in "abc"}
    gaps = {"a": 0.2, "b": 0.0, "c": -0.01}
    noise = {name: 0.02 * torch.randn(N, generator=rng) for name in "abc"}
    return {name: base[name] + gaps[name] + noise[name] for name in "abc"}, base


def test_tests_are_those_of_scipy_and_statsmodels(runs):
    mine, base = runs
    tests = compare_scores(mine, base, margin=0.02, seed=0, n_resamples=2000)
    gaps = {name: (mine[name] - base[name]).double().numpy() for name in "abc"}
    for name, test in tests.items():
        assert test.mean == pytest.approx(gaps[name].mean(), abs=1e-6)
        # A permutation p and that of a t test are close for noise that is normal.
        assert test.p == pytest.approx(stats.ttest_1samp(gaps[name], 0).pvalue, abs=0.03)
        want = statsmodels.stats.weightstats.ttost_paired(
            mine[name].double().numpy(), base[name].double().numpy(), -0.02, 0.02
        )[0]
        assert test.p_equivalence == pytest.approx(want, rel=1e-6)
    ps = [test.p for test in tests.values()]
    holm = statsmodels.stats.multitest.multipletests(ps, method="holm")[1]
    assert [test.p_holm for test in tests.values()] == pytest.approx(holm)
    # By hand: the smallest p times three.
    assert min(t.p_holm for t in tests.values()) == pytest.approx(3 * min(ps))


def test_verdicts_follow_direction_correction_and_margin(runs):
    tests = compare_scores(*runs, margin=0.02, seed=0)
    verdicts = {name: test.verdict(higher_is_better=True) for name, test in tests.items()}
    assert verdicts["a"] == "better"
    assert verdicts["b"] == "equivalent"
    assert verdicts["c"] in {"equivalent", "worse within the margin"}
    assert tests["a"].verdict(higher_is_better=False) == "worse"
    wide = compare_scores(*runs, margin=1e-4, seed=0)
    assert wide["b"].verdict(higher_is_better=True) == "undecided"


def test_runs_of_equal_scores_are_equivalent():
    """No variance is left for a t test; a constant difference is decided by the margin."""
    same = {"a": torch.full((5,), 0.5)}
    other = {"a": torch.full((5,), 0.53)}
    test = compare_scores(same, same, margin=0.02, seed=0)["a"]
    assert (test.p, test.verdict(higher_is_better=True)) == (1, "equivalent")
    assert compare_scores(same, other, margin=0.02, seed=0)["a"].p_equivalence == 1


def test_a_comparison_is_reproducible_and_each_metric_has_its_own_stream(runs):
    mine, base = runs
    first = compare_scores(mine, base, margin=0.02, seed=3, n_resamples=200)
    alone = compare_scores(
        {"b": mine["b"]}, {"b": base["b"]}, margin=0.02, seed=3, n_resamples=200
    )
    assert first["b"].low == alone["b"].low


def test_other_metrics_and_margins_are_refused(runs):
    mine, base = runs
    with pytest.raises(ValueError, match=r"same metrics, but \['c'\] are of one only"):
        compare_scores(mine, {"a": base["a"], "b": base["b"]}, margin=0.02, seed=0)
    with pytest.raises(ValueError, match="margin of equivalence must be positive, got 0"):
        compare_scores(mine, base, margin=0, seed=0)
