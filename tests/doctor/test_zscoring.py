import numpy as np
import pytest

from mindeye2.data.prepared.zscore import Scaler
from mindeye2.doctor.zscoring import check_masks, check_zscoring


def over_all(dataset):
    """Z-score subj01 over all trials of each session."""
    raw = dataset["betas"]["subj01"].reshape(3, 60, -1)
    scaled = (raw - raw.mean(axis=1, keepdims=True)) / raw.std(axis=1, keepdims=True)
    return {"subj01": scaled.reshape(180, -1)}


def scaler(fitted_on):
    ones = np.ones((3, 30), np.float32)
    sessions = np.array([1, 2, 3])
    return Scaler(sessions=sessions, mean=0 * ones, std=ones, fitted_on=fitted_on)


def test_z_scoring_without_test_trials_passes(dataset, open_view):
    (finding,) = check_zscoring(*open_view(dataset))
    assert (finding.level, finding.found) == ("ok", "z-scored on 144 trials, none of them test")


def test_a_scaler_that_records_test_trials_is_an_error(dataset, open_view, wrong):
    scalers = {"subj01": scaler(np.ones(180, bool))}
    findings = check_zscoring(*open_view(dataset, scaled=over_all(dataset), scalers=scalers))
    assert wrong(findings) == [("error", "fitted on", "subj01")]
    assert "36 test trials, by the scaler's own record" in findings[0].found


def test_betas_show_test_trials_that_the_record_hides(dataset, open_view, wrong):
    findings = check_zscoring(*open_view(dataset, scaled=over_all(dataset)))
    assert wrong(findings) == [("error", "fitted on", "subj01")]
    assert "mean and standard deviation are 0 and 1 over all trials" in findings[0].found
    assert "the record says: without test trials" in findings[0].found


def test_betas_that_the_source_scaled_on_test_are_found(dataset, open_view, wrong):
    scalers = {"subj01": scaler(np.zeros(180, bool))}
    findings = check_zscoring(*open_view(dataset, scaled=over_all(dataset), scalers=scalers))
    assert wrong(findings) == [("error", "fitted on", "subj01")]
    assert "done by the source" in findings[0].found


@pytest.mark.parametrize("config", [{"zscore": "released"}, {"kind": "released"}])
def test_published_z_scoring_is_a_note_if_the_settings_ask_for_it(dataset, open_view, config):
    scalers = {"subj01": scaler(np.ones(180, bool))}
    (finding,) = check_zscoring(
        *open_view(dataset, scaled=over_all(dataset), scalers=scalers, config=config)
    )
    assert finding.level == "note"
    assert "as the published files were made" in finding.found


def test_betas_that_do_not_match_their_scaler_are_an_error(dataset, open_view, wrong):
    def corrupt(betas):
        betas[:60] *= 1.2

    findings = check_zscoring(*open_view(dataset, corrupt=corrupt))
    assert wrong(findings) == [("error", "fitted on", "subj01")]
    assert "the betas do not match their scaler" in findings[0].found


def test_scaling_by_the_source_is_a_note(dataset, open_view):
    scalers = {"subj01": scaler(np.zeros(180, bool))}
    (finding,) = check_zscoring(*open_view(dataset, scalers=scalers))
    assert (finding.level, finding.found.startswith("scaled by the source")) == ("note", True)


def test_a_scaler_of_another_number_of_trials_is_an_error(dataset, open_view, wrong):
    scalers = {"subj01": scaler(np.ones(100, bool))}
    findings = check_zscoring(*open_view(dataset, scalers=scalers))
    assert wrong(findings) == [("error", "fitted on", "subj01")]
    assert "the scaler has 100 trials, the table has 180" in findings[0].found


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ({"mask": ["train"]}, []),
        ({}, []),
        ({"mask": ["train", "test"], "pca": ["train"]}, [("error", "fitted on", "data")]),
    ],
)
def test_a_mask_that_was_chosen_on_test_trials_is_an_error(
    dataset, open_view, wrong, recorded, expected
):
    view, _ = open_view(dataset, fitted_on=recorded)
    findings = check_masks(view)
    assert wrong(findings) == expected
    if expected:
        assert findings[0].found.endswith("record: mask")
