import numpy as np
import pandas as pd
import pytest
from scipy.stats import zscore

from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared.zscore import refuse_nonfinite, zscore_by_session, zscore_session


@pytest.fixture
def trials():
    """Return 2 sessions of 20 trials; the last 5 of each show test images."""
    split = (["train"] * 12 + ["validation"] * 3 + ["test"] * 5) * 2
    return pd.DataFrame({"session": np.repeat([1, 2], 20), "split": split})


@pytest.fixture
def betas():
    return np.random.default_rng(0).normal(3.0, 2.0, size=(40, 6)).astype(np.float32)


def test_zscoring_agrees_with_scipy_where_no_trial_is_a_test_trial(betas, trials):
    scaled, _ = zscore_by_session(betas, trials.assign(split="train"), subject="subj01")
    expected = np.concatenate([zscore(betas[:20], ddof=0), zscore(betas[20:], ddof=0)])
    np.testing.assert_allclose(scaled, expected, rtol=1e-4, atol=1e-5)


def test_test_trials_are_scaled_but_teach_the_scaler_nothing(betas, trials):
    _, before = zscore_by_session(betas, trials, subject="subj01")
    test = (trials["split"] == "test").to_numpy()
    shifted = np.where(test[:, None], betas * 7 + 100, betas)
    scaled, after = zscore_by_session(shifted, trials, subject="subj01")
    np.testing.assert_array_equal(after.mean, before.mean)
    np.testing.assert_array_equal(after.std, before.std)
    np.testing.assert_array_equal(after.fitted_on, ~test)
    expected = (shifted[15:20] - before.mean[0]) / before.std[0]
    np.testing.assert_allclose(scaled[15:20], expected, rtol=1e-5)


def test_a_session_s_gain_and_offset_do_not_matter(betas, trials):
    louder = betas * np.where(trials["session"] == 1, 1, 30)[:, None].astype(np.float32) + 5
    first, _ = zscore_by_session(betas, trials, subject="subj01")
    again, scaler = zscore_by_session(louder, trials, subject="subj01")
    np.testing.assert_allclose(again, first, atol=1e-4)
    assert scaler.sessions.tolist() == [1, 2]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_nonfinite_value_is_named_by_trial_and_voxel(betas, value):
    betas[7, 2] = value
    message = r"betas of subj01 hold 1 NaN .* 1 of 40 trials and 1 of 6 .*trial row 7, voxel 2"
    with pytest.raises(ArtifactError, match=message):
        refuse_nonfinite(betas, subject="subj01")


def test_constant_voxels_are_named_by_session_and_column(betas, trials):
    betas[20:35, [1, 4]] = 0.5  # varies only in the test trials and the other session
    message = r"2 voxels of subj01 are constant in session 2 \(columns \[1, 4\]\)"
    with pytest.raises(ArtifactError, match=message):
        zscore_by_session(betas, trials, subject="subj01")


def test_many_constant_voxels_are_not_all_listed(betas, trials):
    with pytest.raises(ArtifactError, match=r"6 voxels .*columns \[0, 1, 2, 3, 4\], \.\.\.\)"):
        zscore_by_session(np.zeros_like(betas), trials, subject="subj01")


def test_a_session_of_test_trials_only_cannot_be_fitted(betas, trials):
    trials.loc[trials["session"] == 2, "split"] = "test"
    with pytest.raises(ArtifactError, match=r"session 2 of subj01 has 0 trials outside the test"):
        zscore_by_session(betas, trials, subject="subj01")


def test_constant_voxels_may_be_kept_as_zero_and_change_no_other(betas):
    fitted = np.arange(40) < 30
    whole, _, _ = zscore_session(betas, fitted, subject="subj01", session=1)
    betas[:30, 4] = 0.3  # does not vary where it is fitted, does in the test trials
    scaled, _, std = zscore_session(betas, fitted, subject="subj01", session=1, keep_constant=True)
    assert (scaled[:, 4] == 0).all()
    assert std[4] == 0
    np.testing.assert_array_equal(np.delete(scaled, 4, 1), np.delete(whole, 4, 1))


def test_rows_in_messages_count_from_the_subject_s_first_trial(betas):
    betas[7, 2] = np.nan
    with pytest.raises(ArtifactError, match=r"trial row 107, voxel 2"):
        refuse_nonfinite(betas, subject="subj01", rows=np.arange(100, 140))
