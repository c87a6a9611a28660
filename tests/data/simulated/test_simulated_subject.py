import numpy as np
import pytest


def _residual(study, subject):
    """Return the noise that is left without signal, drift and offsets, in units of its SD."""
    truth = study.truth[subject]
    images = study.trials.loc[study.trials["subject"] == subject, "image"].to_numpy()
    rest = study.betas[subject] - truth.mean - truth.signal_sd * truth.signal[images]
    return (rest - truth.drift - truth.offsets) / truth.noise_sd


def test_what_is_left_of_the_betas_is_noise_of_the_stated_size(study, small):
    noise = _residual(study, "subj01")
    share = 1 - small.drift_fraction - small.run_fraction
    assert np.square(noise).mean() == pytest.approx(share, rel=0.03)
    assert abs(noise.mean()) < 0.02


def test_noise_correlates_as_much_as_set(study, small):
    noise = _residual(study, "subj01")
    loadings = study.truth["subj01"].loadings
    pairs = np.triu_indices(noise.shape[1], k=1)
    measured = (noise.T @ noise / len(noise))[pairs]
    expected = (loadings @ loadings.T)[pairs]
    slope = (measured * expected).sum() / np.square(expected).sum()
    assert slope == pytest.approx(small.correlated_fraction, rel=0.1)


def test_noise_is_independent_from_trial_to_trial(study):
    noise = _residual(study, "subj02")
    assert abs((noise[1:] * noise[:-1]).mean()) < 0.01


def test_signals_are_standardised_over_training_and_validation_images(study, world):
    fit = np.array(world[2]) != "test"
    for truth in study.truth.values():
        np.testing.assert_allclose(truth.signal[fit].mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(truth.signal[fit].std(axis=0), 1, rtol=1e-3)


def _semantic_signal(study, subject):
    truth = study.truth[subject]
    return truth.signal[:, ~np.isin(truth.area, ["V1", "V2", "V3", "V4"])]


def _without(signal, axes, fit):
    """Return what `axes` leave unexplained, fitted and evaluated on the same images."""
    weights = np.linalg.lstsq(axes[fit], signal[fit], rcond=None)[0]
    return signal[fit] - axes[fit] @ weights


def test_subjects_share_the_shared_axes_and_not_their_own(study, world, small):
    fit = np.array(world[2]) != "test"
    signals = [_semantic_signal(study, subject) for subject in ("subj01", "subj02")]
    own = [_without(signal, study.components, fit) for signal in signals]
    for rest in own:
        # Shared axes explain their share, and the rest has as many dimensions as own axes.
        assert np.square(rest).mean() == pytest.approx(small.own_fraction, abs=0.01)
        assert np.linalg.matrix_rank(rest, tol=1e-2) == small.own_components
    basis = np.linalg.svd(own[0], full_matrices=False)[0][:, : small.own_components]
    common = np.square(basis.T @ own[1]).sum() / np.square(own[1]).sum()
    assert common < 2 * small.own_components / small.other_components


def test_areas_have_their_shares_and_fields_only_where_they_are_retinotopic(study, small):
    for truth in study.truth.values():
        early = np.isin(truth.area, ["V1", "V2", "V3", "V4"])
        assert early.mean() == pytest.approx(small.early_fraction, abs=0.01)
        np.testing.assert_array_equal(np.isfinite(truth.fields.x), early)
        assert len(truth.weights.shared) == (~early).sum()


def test_early_areas_are_more_reliable_by_their_gain(study, small):
    logs = []
    for truth in study.truth.values():
        ratio = np.log(truth.signal_sd / truth.noise_sd)
        early = np.isfinite(truth.fields.x)
        logs.append(ratio[early].mean() - ratio[~early].mean())
    assert np.mean(logs) == pytest.approx(np.log(small.early_gain), abs=0.1)
