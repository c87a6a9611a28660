import numpy as np
import pytest
from sklearn.decomposition import PCA

from mindeye2.data.simulated.receptive_fields import sample_fields
from mindeye2.data.simulated.simulated_voxels import (
    early_drive,
    higher_drive,
    pca_scores,
    rectify,
    standardize,
)

FIT = np.arange(200) < 150


def _axes(n, seed=0):
    scores = np.random.default_rng(seed).standard_normal((200, n)).astype(np.float32)
    return standardize(scores, FIT)


def _higher(**changes):
    shared, other = np.split(_axes(20), [12], axis=1)
    options = {
        "gains": {"ventral": np.ones(12), "lateral": np.full(12, 1e-6)},
        "areas": np.repeat("ventral", 40),
        "rng": np.random.default_rng(1),
        "fit": FIT,
        "n_own": 3,
        "own_fraction": 0.3,
        "nonlinearity": 0.0,
    }
    return shared, other, *higher_drive(shared, other, **(options | changes))


def _explained(targets, predictors):
    predictors = np.concatenate([predictors, np.ones((len(predictors), 1))], axis=1)
    fit = predictors @ np.linalg.lstsq(predictors, targets, rcond=None)[0]
    return 1 - np.square(targets - fit).sum() / np.square(targets - targets.mean(0)).sum()


def test_axes_are_the_principal_components_of_the_fitted_images():
    features = np.random.default_rng(0).standard_normal((200, 30)) @ np.diag(np.arange(30, 0, -1))
    scores, sds = pca_scores(features, FIT, n_components=5)
    pca = PCA(5).fit(features[FIT])
    expected = pca.transform(features)
    correlation = np.corrcoef(scores.T, expected.T)[:5, 5:]
    np.testing.assert_allclose(np.abs(np.diag(correlation)), 1, atol=1e-4)
    np.testing.assert_allclose(sds, np.sqrt(pca.explained_variance_ * 149 / 150), rtol=1e-4)
    np.testing.assert_allclose(scores[FIT].std(axis=0), 1, rtol=1e-4)


def test_images_outside_the_fit_do_not_move_the_axes():
    features = np.random.default_rng(0).standard_normal((200, 30)).astype(np.float32)
    before, _ = pca_scores(features, FIT, n_components=5)
    features[~FIT] *= 100
    after, _ = pca_scores(features, FIT, n_components=5)
    np.testing.assert_array_equal(before[FIT], after[FIT])


def test_features_of_low_rank_give_fewer_axes():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((200, 3)) @ rng.standard_normal((3, 30))
    scores, sds = pca_scores(features, FIT, n_components=12)
    assert scores.shape == (200, 3)
    assert len(sds) == 3


def test_own_axes_drive_their_share_and_only_their_axes():
    shared, other, responses, weights = _higher()
    # In a sample the axes are not quite uncorrelated, principal axes would be.
    assert _explained(responses[FIT], shared[FIT]) == pytest.approx(0.7, abs=0.06)
    own = other @ weights.own_components
    assert _explained(responses, np.concatenate([shared, own], axis=1)) > 0.9999
    np.testing.assert_allclose(
        weights.own_components.T @ weights.own_components, np.eye(3), atol=1e-5
    )


def test_without_own_axes_everything_is_shared():
    shared, _, responses, _ = _higher(n_own=0)
    assert _explained(responses, shared) > 0.9999


def test_the_gains_of_the_area_scale_its_weights():
    *_, weights = _higher(areas=np.repeat(["ventral", "lateral"], 20))
    assert np.abs(weights.shared[:20]).mean() > 1e5 * np.abs(weights.shared[20:]).mean()


@pytest.mark.parametrize(("amount", "correlation"), [(0.0, 1.0), (0.5, 0.857), (1.0, 0.0)])
def test_rectification_takes_away_what_is_linear(amount, correlation):
    # 0.857 is the correlation of a normal variable with its positive part.
    values = standardize(
        np.random.default_rng(0).standard_normal((50_000, 2)), np.ones(50_000, bool)
    )
    bent = rectify(values, np.ones(50_000, dtype=bool), amount=amount)
    assert np.corrcoef(values[:, 0], bent[:, 0])[0, 1] == pytest.approx(correlation, abs=0.02)
    np.testing.assert_allclose(bent.std(axis=0), 1, rtol=1e-4)


def test_bent_voxels_are_less_linear_in_the_axes():
    bent = [_higher(nonlinearity=k, own_fraction=0.0, n_own=0) for k in (0.0, 0.5, 1.0)]
    linear = [_explained(responses, shared) for shared, _, responses, _ in bent]
    assert linear[0] > 0.9999 > 0.9 > linear[1] > 0.6 > 0.3 > linear[2]


def _early(energies, colours, **changes):
    areas = np.repeat(["V1", "V4"], 20)
    rng = np.random.default_rng(0)
    options = {
        "rng": rng,
        "fit": FIT,
        "extent": 8.4,
        "exponent": 0.5,
        "tuning": 1.0,
        "colour_voxels": 0.0,
        "colour_fraction": 0.5,
    }
    fields = sample_fields(areas, rng, extent=8.4, scatter=0.2)
    return early_drive(energies, colours, fields, **(options | changes))


def test_more_energy_everywhere_compresses_by_the_square_root():
    rng = np.random.default_rng(0)
    gain = np.exp(rng.standard_normal(200)).astype(np.float32)
    energies = np.ones((200, 18, 32, 32), np.float32) * gain[:, None, None, None]
    colours = np.zeros((200, 3, 32, 32), np.float32)
    expected = standardize(np.sqrt(gain)[:, None], FIT)
    np.testing.assert_allclose(_early(energies, colours), np.tile(expected, 40), atol=1e-3)


def test_colour_moves_the_voxels_that_see_it_and_no_others():
    rng = np.random.default_rng(0)
    energies = rng.random((200, 18, 32, 32), dtype=np.float32)
    colours = rng.random((200, 3, 32, 32), dtype=np.float32)
    blind = _early(energies, colours)
    np.testing.assert_array_equal(blind, _early(energies, colours[::-1]))
    seeing = _early(energies, colours, colour_voxels=1.0)
    fractions = [
        np.corrcoef(a, b)[0, 1] ** 2 for a, b in zip(blind[FIT].T, seeing[FIT].T, strict=True)
    ]
    assert np.mean(fractions) == pytest.approx(0.5, abs=0.1)
