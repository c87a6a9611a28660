import numpy as np
import pytest

from mindeye2.data.prepared.zscore import Scaler
from mindeye2.doctor.scaling import check_masks, check_scaling


def over_all(parts):
    """Z-score subj01 over all trials of each session."""
    raw = parts["betas"]["subj01"].reshape(3, 60, -1)
    scaled = (raw - raw.mean(axis=1, keepdims=True)) / raw.std(axis=1, keepdims=True)
    return {"subj01": scaled.reshape(180, -1)}


def scaler(fitted_on):
    ones = np.ones((3, 30), np.float32)
    sessions = np.array([1, 2, 3])
    return Scaler(sessions=sessions, mean=0 * ones, std=ones, fitted_on=fitted_on)


def test_trials_outside_the_test_split_are_what_it_should_be(parts, study):
    (finding,) = check_scaling(*study(parts))
    assert (finding.level, finding.found) == ("ok", "z-scored on 144 trials, none of them test")


def test_a_scaler_that_says_it_saw_the_test_is_an_error(parts, study, wrong):
    scalers = {"subj01": scaler(np.ones(180, bool))}
    findings = check_scaling(*study(parts, scaled=over_all(parts), scalers=scalers))
    assert wrong(findings) == [("error", "fitted on", "subj01")]
    assert "36 test trials, by the scaler's own record" in findings[0].found


def test_betas_tell_what_a_record_hides(parts, study, wrong):
    findings = check_scaling(*study(parts, scaled=over_all(parts)))
    assert wrong(findings) == [("error", "fitted on", "subj01")]
    assert "mean and spread are 0 and 1 over all trials" in findings[0].found
    assert "the record says: without test trials" in findings[0].found


def test_betas_that_the_source_scaled_on_test_are_found(parts, study, wrong):
    scalers = {"subj01": scaler(np.zeros(180, bool))}
    findings = check_scaling(*study(parts, scaled=over_all(parts), scalers=scalers))
    assert wrong(findings) == [("error", "fitted on", "subj01")]
    assert "done by the source" in findings[0].found


@pytest.mark.parametrize("config", [{"zscore": "released"}, {"kind": "released"}])
def test_the_published_way_is_noted_where_it_was_asked_for(parts, study, config):
    scalers = {"subj01": scaler(np.ones(180, bool))}
    (finding,) = check_scaling(
        *study(parts, scaled=over_all(parts), scalers=scalers, config=config)
    )
    assert finding.level == "note"
    assert "as the published files were made" in finding.found


def test_betas_that_are_not_what_the_scaler_says_are_an_error(parts, study, wrong):
    def spoil(betas):
        betas[:60] *= 1.2

    findings = check_scaling(*study(parts, spoil=spoil))
    assert wrong(findings) == [("error", "fitted on", "subj01")]
    assert "the betas are not what the scaler says" in findings[0].found


def test_a_source_s_own_scaling_is_noted(parts, study):
    scalers = {"subj01": scaler(np.zeros(180, bool))}
    (finding,) = check_scaling(*study(parts, scalers=scalers))
    assert (finding.level, finding.found.startswith("scaled by the source")) == ("note", True)


def test_a_scaler_of_another_number_of_trials_is_an_error(parts, study, wrong):
    scalers = {"subj01": scaler(np.ones(100, bool))}
    findings = check_scaling(*study(parts, scalers=scalers))
    assert wrong(findings) == [("error", "fitted on", "subj01")]
    assert "knows 100 trials, the table has 180" in findings[0].found


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ({"mask": ["train"]}, []),
        ({}, []),
        ({"mask": ["train", "test"], "pca": ["train"]}, [("error", "fitted on", "data")]),
    ],
)
def test_a_mask_that_was_chosen_on_test_trials_is_an_error(
    parts, study, wrong, recorded, expected
):
    found, _ = study(parts, fitted_on=recorded)
    findings = check_masks(found)
    assert wrong(findings) == expected
    if expected:
        assert findings[0].found.endswith("record: mask")
