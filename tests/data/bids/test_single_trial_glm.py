import numpy as np
import pandas as pd
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.bids.single_trial_glm import GlmSettings, single_trial_betas

pytest.importorskip("nilearn", reason="nilearn is not installed: pip install 'mindeye2[bids]'")

TR = 1.5
N = 200
TRIALS = pd.DataFrame({"onset": np.arange(12) * 22.0 + 5, "duration": 3.0})


def gamma_response(trials, amplitudes, *, taken=0.5):
    """Write the volumes of a run: Glover's shape, summed trial by trial on a fine grid.

    Independent of nilearn but for the parameters of the shape (Glover 1999): two gamma densities,
    means at 6 and 12 s, the second .48 of the first.
    """
    from scipy.stats import gamma

    fine = 0.05
    t = np.arange(0, 32, fine)
    shape = gamma.pdf(t, 6 / 0.9, scale=0.9) - 0.48 * gamma.pdf(t, 12 / 0.9, scale=0.9)
    shape /= shape.sum()
    signal = np.zeros((int(N * TR / fine) + len(t), amplitudes.shape[1]))
    for (onset, duration), amplitude in zip(trials.to_numpy(), amplitudes, strict=True):
        for step in range(round(duration / fine)):
            start = round(onset / fine) + step
            signal[start : start + len(t)] += shape[:, None] * amplitude
    return signal[np.round((np.arange(N) + taken) * TR / fine).astype(int)]


@pytest.fixture
def planted():
    """Return responses in percent of 12 trials, 6 voxels."""
    return np.random.default_rng(0).normal(1, 0.5, (12, 6))


def fit(bold, trials=TRIALS, *, confounds=None, **values):
    return single_trial_betas(
        bold,
        trials,
        tr_seconds=TR,
        confounds=confounds,
        settings=GlmSettings(**values),
        name="sub-01_run-1",
    )


@pytest.mark.parametrize("model", ["lsa", "lss"])
@pytest.mark.parametrize("drift", ["cosine", "polynomial"])
def test_planted_responses_come_back(planted, model, drift):
    """In percent of the mean, under slow drift, whatever the voxel's level."""
    signal = gamma_response(TRIALS, planted)
    level = np.array([200, 500, 800, 1000, 1500, 3000.0])
    slow = np.linspace(-1, 1, N)[:, None]
    bold = level * (1 + (signal + slow) / 100)
    found = fit(bold, model=model, drift=drift)
    assert found.dtype == np.float32
    for column in range(6):
        assert np.corrcoef(found[:, column], planted[:, column])[0, 1] > 0.98
    slope = np.polyfit(planted.ravel(), found.ravel(), 1)[0]
    assert 0.85 < slope < 1.15


def test_separate_models_are_steadier_where_responses_overlap():
    trials = pd.DataFrame({"onset": np.arange(60) * 4.0 + 5, "duration": 2.0})
    rng = np.random.default_rng(1)
    planted = rng.normal(1, 0.5, (60, 40))
    noise = rng.normal(0, 1, (N, 40))
    bold = 500 * (1 + (gamma_response(trials, planted) + noise) / 100)
    match = {}
    for model in ("lsa", "lss"):
        found = fit(bold, trials, model=model)
        pairs = [np.corrcoef(found[:, v], planted[:, v])[0, 1] for v in range(40)]
        match[model] = np.mean(pairs)
    assert match["lss"] > match["lsa"] > 0


def test_confounds_are_taken_out(planted):
    rng = np.random.default_rng(2)
    motion = pd.DataFrame(rng.normal(size=(N, 2)), columns=["x", "y"])
    bold = 500 * (1 + gamma_response(TRIALS, planted) / 100) + motion.to_numpy() @ (
        rng.normal(0, 20, (2, 6))
    )
    clean, raw = fit(bold, confounds=motion), fit(bold)
    assert np.abs(clean - planted).mean() < 0.15 < np.abs(raw - planted).mean()


@pytest.mark.parametrize(
    "values",
    [
        {"hrf": "spm"},
        {"noise": "ar1"},
        {"slice_time": 0.0},
        {"high_pass": 0.02},
        {"drift": "none"},
        {"drift": "polynomial", "drift_order": 1},
    ],
)
def test_every_setting_changes_something(planted, values):
    noise = np.random.default_rng(3).normal(0, 1, (N, 6)).cumsum(axis=0)
    bold = 500 * (1 + (gamma_response(TRIALS, planted) + 0.1 * noise) / 100)
    changed = fit(bold, **values)
    assert not np.allclose(changed, fit(bold), rtol=1e-3)
    assert np.isfinite(changed).all()


def test_a_voxel_without_signal_stays_constant_and_warns_of_nothing(planted):
    bold = 500 * (1 + gamma_response(TRIALS, planted) / 100)
    bold[:, 2] = 0
    found = fit(bold)
    assert (found[:, 2] == 0).all()
    assert (found[:, 3] != 0).all()


def test_a_trial_outside_the_run_is_refused():
    late = TRIALS.assign(onset=TRIALS["onset"] + 100)
    with pytest.raises(ArtifactError, match=r"3 trials of sub-01_run-1 begin outside .*300 s in"):
        fit(np.ones((N, 2)), late)


def test_confounds_of_another_run_are_refused():
    confounds = pd.DataFrame({"x": np.arange(N - 4.0)})
    with pytest.raises(ArtifactError, match=r"200 volumes, but its confounds have 196 rows"):
        fit(np.ones((N, 2)), confounds=confounds)


def test_trials_that_cannot_be_separated_are_refused():
    many = pd.DataFrame({"onset": np.arange(250) * 1.1, "duration": 1.0})
    with pytest.raises(ArtifactError, match=r"250 trials, .*200 volumes.*bids\.glm\.model=lss"):
        fit(np.random.default_rng(0).normal(500, 1, (N, 2)), many)
