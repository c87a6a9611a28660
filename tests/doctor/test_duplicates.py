import numpy as np
import pandas as pd
import pytest

from mindeye2.doctor.duplicates import (
    check_duplicate_sessions,
    check_duplicate_subjects,
    parallel_share,
)

NOISE = np.random.default_rng(1).normal(size=(60, 30))


def copied(betas):
    betas[120:] = betas[:60]


def noisy(betas):
    betas[120:] = 0.9 * betas[:60] + 0.1 * NOISE


def a_run(betas):
    betas[150:180] = betas[60:90]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (copied, r"60 trials of session 3 have the same betas as trials of session 1"),
        (noisy, r"session 3 is nearly session 1: their betas correlate at 0.99"),
        (a_run, r"30 trials of session 3 have the same betas as trials of session 2"),
    ],
)
def test_a_session_that_is_there_twice_is_an_error(parts, study, wrong, spoil, message):
    findings = check_duplicate_sessions(*study(parts, spoil=spoil))
    assert wrong(findings) == [("error", "duplicates", "subj01")]
    assert message in findings[0].found


def test_dead_trials_are_not_called_copies(parts, study, wrong):
    def spoil(betas):
        betas[[5, 70]] = 0

    assert wrong(check_duplicate_sessions(*study(parts, spoil=spoil))) == []


def test_sessions_of_the_same_images_in_the_same_order_are_no_copies(parts, study, wrong):
    """Their betas agree as far as the brain does, which is far below a copy."""
    own = (parts["trials"]["subject"] == "subj01").to_numpy()
    shown = parts["trials"].loc[own, "image"].to_numpy()
    seen = parts["images"][np.tile(shown[:60], 3), ::8, ::8].reshape(180, -1) / 40
    rng = np.random.default_rng(2)
    signal = (seen - seen.mean(axis=0)) @ rng.normal(size=(48, 30)) / 7
    parts["betas"]["subj01"] = (signal + rng.normal(size=signal.shape)).astype(np.float32)
    parts["trials"].loc[own, "split"] = np.tile(parts["trials"]["split"][:60], 3)
    parts["trials"].loc[own, "image"] = np.tile(shown[:60], 3)
    assert wrong(check_duplicate_sessions(*study(parts))) == []


@pytest.mark.parametrize(
    "disguise",
    [
        lambda b: b,
        lambda b: b[:, ::-1],
        lambda b: b[:, 5:],
        lambda b: 3 * b + 1,
        lambda b: b + 0.1 * np.random.default_rng(0).normal(size=b.shape),
    ],
    ids=["the same", "other order", "smaller mask", "other unit", "noise"],
)
def test_one_person_under_two_names_is_found_in_disguise(parts, study, wrong, disguise):
    copy = parts["trials"].query("subject == 'subj01'").assign(subject="subj03")
    parts["trials"] = pd.concat([parts["trials"], copy], ignore_index=True)
    parts["betas"]["subj03"] = disguise(parts["betas"]["subj01"]).astype(np.float32)
    found, _ = study(parts)
    findings = check_duplicate_subjects(found, {s: np.arange(60) for s in found.paired})
    assert wrong(findings) == [("error", "duplicates", "subj03")]
    assert "subj01" in findings[0].found


def test_two_people_are_two_people(parts, study):
    found, _ = study(parts)
    (finding,) = check_duplicate_subjects(found, {s: np.arange(60) for s in found.paired})
    assert (finding.level, finding.where) == ("ok", "subj01 to subj02")


def test_the_share_is_the_median_best_correlation():
    rng = np.random.default_rng(0)
    few, many = (rng.normal(size=(50, n)).astype(np.float32) for n in (3, 9))
    best = [max(abs(np.corrcoef(a, b)[0, 1]) for b in many.T) for a in few.T]
    assert parallel_share(few, many) == pytest.approx(np.median(best), abs=1e-5)
