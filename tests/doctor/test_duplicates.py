import numpy as np
import pandas as pd
import pytest

from mindeye2.doctor.duplicates import (
    best_match_correlation,
    check_duplicate_sessions,
    check_duplicate_subjects,
)

NOISE = np.random.default_rng(1).normal(size=(60, 30))


def copied(betas):
    betas[120:] = betas[:60]


def noisy(betas):
    betas[120:] = 0.9 * betas[:60] + 0.1 * NOISE


def a_run(betas):
    betas[150:180] = betas[60:90]


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (copied, r"60 trials of session 3 have the same betas as trials of session 1"),
        (noisy, r"session 3 is nearly session 1: their betas correlate at 0.99"),
        (a_run, r"30 trials of session 3 have the same betas as trials of session 2"),
    ],
)
def test_a_session_that_is_there_twice_is_an_error(dataset, open_view, wrong, corrupt, message):
    findings = check_duplicate_sessions(*open_view(dataset, corrupt=corrupt))
    assert wrong(findings) == [("error", "duplicates", "subj01")]
    assert message in findings[0].found


def test_zero_trials_are_not_called_copies(dataset, open_view, wrong):
    def corrupt(betas):
        betas[[5, 70]] = 0

    assert wrong(check_duplicate_sessions(*open_view(dataset, corrupt=corrupt))) == []


def test_sessions_of_the_same_images_in_the_same_order_are_no_copies(dataset, open_view, wrong):
    """Their betas agree as far as the brain does, which is far below a copy."""
    own = (dataset["trials"]["subject"] == "subj01").to_numpy()
    shown = dataset["trials"].loc[own, "image"].to_numpy()
    shown_pixels = dataset["images"][np.tile(shown[:60], 3), ::8, ::8].reshape(180, -1) / 40
    rng = np.random.default_rng(2)
    signal = (shown_pixels - shown_pixels.mean(axis=0)) @ rng.normal(size=(48, 30)) / 7
    dataset["betas"]["subj01"] = (signal + rng.normal(size=signal.shape)).astype(np.float32)
    dataset["trials"].loc[own, "split"] = np.tile(dataset["trials"]["split"][:60], 3)
    dataset["trials"].loc[own, "image"] = np.tile(shown[:60], 3)
    assert wrong(check_duplicate_sessions(*open_view(dataset))) == []


@pytest.mark.parametrize(
    "transform",
    [
        lambda b: b,
        lambda b: b[:, ::-1],
        lambda b: b[:, 5:],
        lambda b: 3 * b + 1,
        lambda b: b + 0.1 * np.random.default_rng(0).normal(size=b.shape),
    ],
    ids=["the same", "other order", "smaller mask", "other unit", "noise"],
)
def test_one_subject_under_two_names_is_found_when_transformed(
    dataset, open_view, wrong, transform
):
    copy = dataset["trials"].query("subject == 'subj01'").assign(subject="subj03")
    dataset["trials"] = pd.concat([dataset["trials"], copy], ignore_index=True)
    dataset["betas"]["subj03"] = transform(dataset["betas"]["subj01"]).astype(np.float32)
    view, _ = open_view(dataset)
    findings = check_duplicate_subjects(view, {s: np.arange(60) for s in view.matched_subjects})
    assert wrong(findings) == [("error", "duplicates", "subj03")]
    assert "subj01" in findings[0].found


def test_different_subjects_are_no_copies(dataset, open_view):
    view, _ = open_view(dataset)
    (finding,) = check_duplicate_subjects(view, {s: np.arange(60) for s in view.matched_subjects})
    assert (finding.level, finding.where) == ("ok", "subj01 to subj02")


def test_the_score_is_the_median_best_correlation():
    rng = np.random.default_rng(0)
    few, many = (rng.normal(size=(50, n)).astype(np.float32) for n in (3, 9))
    best = [max(abs(np.corrcoef(a, b)[0, 1]) for b in many.T) for a in few.T]
    assert best_match_correlation(few, many) == pytest.approx(np.median(best), abs=1e-5)
