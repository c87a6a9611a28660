import numpy as np
import pytest

from mindeye2.doctor.shifts import ALPHA, fit_session, gram_matrix, loo_matrix, shift_curve


@pytest.fixture
def simulated():
    """Return betas (60 trials, 20 voxels) and the features of the images shown."""
    rng = np.random.default_rng(0)
    shown = rng.normal(size=(60, 8))
    betas = shown @ rng.normal(size=(8, 20)) + 2 * rng.normal(size=(60, 20))
    return betas.astype(np.float32), shown.astype(np.float32)


def test_leaving_out_in_closed_form_is_leaving_out(simulated):
    """Against one ridge for each trial, fitted without it."""
    betas, shown = simulated
    predicted = loo_matrix(betas) @ shown
    centred = betas.astype(np.float64) - betas.mean(axis=0)
    alpha = ALPHA * np.square(centred).sum() / len(betas)
    for i in (0, 17, 59):
        others = np.delete(np.arange(60), i)
        X = centred[others]
        W = np.linalg.solve(X.T @ X + alpha * np.eye(20), X.T @ shown[others])
        np.testing.assert_allclose(predicted[i], centred[i] @ W, rtol=1e-3, atol=1e-5)


def test_the_curve_is_the_fit_of_each_shift_by_itself(simulated):
    betas, shown = simulated
    hat, kernel = loo_matrix(betas), gram_matrix(shown)
    raw = [np.sum(hat * np.roll(kernel, (-k, -k), axis=(0, 1))) for k in range(60)]
    middle = np.median(raw)
    expected = (raw - middle) / (1.4826 * np.median(np.abs(raw - middle)))
    np.testing.assert_allclose(shift_curve(hat, kernel), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shift", [0, 1, -1, 13])
def test_the_peak_is_at_the_shift_of_the_table(simulated, shift):
    """The table gives for trial i + shift what trial i showed."""
    betas, shown = simulated
    fit = fit_session(betas, np.roll(shown, shift, axis=0), session=4)
    assert fit.session == 4
    if shift:
        assert fit.best_shift[1] == shift
        assert fit.best_shift[0] > 8 > 4 > fit.z
    else:
        assert fit.z > 8 > 4 > fit.best_shift[0]


def test_noise_has_no_peak(simulated):
    betas, shown = simulated
    rng = np.random.default_rng(3)
    heights = [fit_session(betas, rng.permutation(shown), session=1).curve for _ in range(20)]
    assert max(h.max() for h in heights) < 6


@pytest.mark.parametrize("by", [1, -1, 2])
def test_a_slip_in_mid_session_is_found_where_it_begins(by):
    rng = np.random.default_rng(0)
    shown = rng.normal(size=(200, 8)).astype(np.float32)
    betas = (shown @ rng.normal(size=(8, 20)) + rng.normal(size=(200, 20))).astype(np.float32)
    table = shown.copy()
    table[120:] = np.roll(shown, by, axis=0)[120:]
    z, shift, start = fit_session(betas, table, session=1).slip
    assert (z > 6, shift) == (True, by)
    assert abs(start - 120) <= 4
    assert fit_session(betas, shown, session=1).slip[0] < 3
