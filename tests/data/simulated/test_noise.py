import numpy as np
import pandas as pd
import pytest

from mindeye2.data.simulated.noise import NoiseFractions, drift_and_offsets, noise_loadings


def _trials(sessions=4, runs=5, length=40):
    index = pd.MultiIndex.from_product([range(1, sessions + 1), range(1, runs + 1), range(length)])
    return index.to_frame(index=False, name=["session", "run", "at"])


def _sample(trials, **shares):
    parts = {"correlated": 0.0, "drift": 0.0, "run": 0.0} | shares
    offset = parts.pop("session_offset", 0.0)
    return drift_and_offsets(
        trials,
        np.random.default_rng(0),
        n_voxels=3000,
        fractions=NoiseFractions(**parts),
        session_offset=offset,
    )


def test_every_voxel_has_the_same_share_of_common_noise():
    signal = np.random.default_rng(0).standard_normal((50, 70)).astype(np.float32)
    loadings = noise_loadings(signal, np.random.default_rng(1), n_latents=20)
    assert loadings.shape == (70, 20)
    np.testing.assert_allclose(np.square(loadings).sum(axis=1), 1, rtol=1e-5)


def test_half_of_the_latents_load_like_the_leading_axes_of_the_signal():
    rng = np.random.default_rng(0)
    pattern = rng.choice([-1.0, 1.0], 60)
    signal = rng.standard_normal((500, 1)) * pattern + 0.1 * rng.standard_normal((500, 60))
    loadings = noise_loadings(signal.astype(np.float32), rng, n_latents=2)
    assert abs(np.corrcoef(loadings[:, 0], pattern)[0, 1]) > 0.99
    assert abs(np.corrcoef(loadings[:, 1], pattern)[0, 1]) < 0.4
    np.testing.assert_allclose(np.abs(loadings), np.sqrt(0.5), rtol=1e-5)


@pytest.mark.parametrize("n_latents", [1, 2, 9])
def test_few_voxels_and_odd_numbers_of_latents_work(n_latents):
    signal = np.random.default_rng(0).standard_normal((30, 3)).astype(np.float32)
    loadings = noise_loadings(signal, np.random.default_rng(1), n_latents=n_latents)
    np.testing.assert_allclose(np.square(loadings).sum(axis=1), 1, rtol=1e-5)


def test_drift_has_its_share_and_is_slow():
    trials = _trials()
    drift, offsets = _sample(trials, drift=0.3)
    assert np.square(drift).mean() == pytest.approx(0.3, rel=0.1)
    assert (offsets == 0).all()
    first = drift[(trials["session"] == 1).to_numpy()]
    steps = np.square(np.diff(first, axis=0)).mean()
    assert steps < 0.001 * np.square(first).mean()
    np.testing.assert_allclose(first.mean(axis=0), 0, atol=1e-4)


def test_drift_starts_anew_in_each_session():
    trials = _trials()
    drift, _ = _sample(trials, drift=0.3)
    parts = [drift[(trials["session"] == s).to_numpy()].ravel() for s in (1, 2)]
    assert abs(np.corrcoef(*parts)[0, 1]) < 0.05


def test_offsets_are_constant_in_runs_and_have_their_shares():
    trials = _trials()
    _, offsets = _sample(trials, run=0.1, session_offset=0.5)
    table = pd.DataFrame(offsets).groupby([trials["session"], trials["run"]])
    assert (table.nunique() == 1).all(axis=None)
    runs = table.first()
    within = runs.groupby(level=0).var(ddof=1).mean(axis=None)
    assert within == pytest.approx(0.1, rel=0.1)
    between = runs.groupby(level=0).mean().var(ddof=1).mean() - within / 5
    assert between == pytest.approx(0.25, rel=0.15)
