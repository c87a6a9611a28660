import numpy as np
import pytest

from mindeye2.doctor.shifts import PENALTY, fit_session, gram_of, lag_curve, left_out


@pytest.fixture
def world():
    """Return betas (60 trials, 20 voxels) and the features of what was seen."""
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(60, 8))
    betas = seen @ rng.normal(size=(8, 20)) + 2 * rng.normal(size=(60, 20))
    return betas.astype(np.float32), seen.astype(np.float32)


def test_leaving_out_in_closed_form_is_leaving_out(world):
    """Against one ridge for each trial, fitted without it."""
    betas, seen = world
    predicted = left_out(betas) @ seen
    centred = betas.astype(np.float64) - betas.mean(axis=0)
    penalty = PENALTY * np.square(centred).sum() / len(betas)
    for i in (0, 17, 59):
        others = np.delete(np.arange(60), i)
        X = centred[others]
        W = np.linalg.solve(X.T @ X + penalty * np.eye(20), X.T @ seen[others])
        np.testing.assert_allclose(predicted[i], centred[i] @ W, rtol=1e-3, atol=1e-5)


def test_the_curve_is_the_fit_of_each_shift_by_itself(world):
    betas, seen = world
    hat, kernel = left_out(betas), gram_of(seen)
    raw = [np.sum(hat * np.roll(kernel, (-k, -k), axis=(0, 1))) for k in range(60)]
    middle = np.median(raw)
    expected = (raw - middle) / (1.4826 * np.median(np.abs(raw - middle)))
    np.testing.assert_allclose(lag_curve(hat, kernel), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shift", [0, 1, -1, 13])
def test_the_peak_is_where_the_table_is(world, shift):
    """The table says of trial i + shift what trial i saw."""
    betas, seen = world
    fit = fit_session(betas, np.roll(seen, shift, axis=0), session=4)
    assert fit.session == 4
    if shift:
        assert fit.elsewhere[1] == shift
        assert fit.elsewhere[0] > 8 > 4 > fit.here
    else:
        assert fit.here > 8 > 4 > fit.elsewhere[0]


def test_noise_has_no_peak(world):
    betas, seen = world
    rng = np.random.default_rng(3)
    heights = [fit_session(betas, rng.permutation(seen), session=1).curve for _ in range(20)]
    assert max(h.max() for h in heights) < 6


@pytest.mark.parametrize("by", [1, -1, 2])
def test_a_slip_in_mid_session_is_found_where_it_begins(by):
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(200, 8)).astype(np.float32)
    betas = (seen @ rng.normal(size=(8, 20)) + rng.normal(size=(200, 20))).astype(np.float32)
    table = seen.copy()
    table[120:] = np.roll(seen, by, axis=0)[120:]
    z, found, start = fit_session(betas, table, session=1).slip
    assert (z > 6, found) == (True, by)
    assert abs(start - 120) <= 4
    assert fit_session(betas, seen, session=1).slip[0] < 3
