import re

import numpy as np
import pytest

from mindeye2.doctor.image_features import image_features
from mindeye2.doctor.image_overlap import make_thumbnails
from mindeye2.doctor.shifts import SessionFit
from mindeye2.doctor.trial_order import _shifted, check_trial_order

SESSIONS = (slice(0, 60), slice(60, 120), slice(120, 180))


def run_check(open_view, dataset, **given):
    view, stats = open_view(dataset, **given)
    features, source = image_features(view, make_thumbnails(view))
    return check_trial_order(view, stats, features, source=source)


def shift(betas):
    for rows in SESSIONS:
        betas[rows] = np.roll(betas[rows], -1, axis=0)


def shift_one(betas):
    betas[SESSIONS[1]] = np.roll(betas[SESSIONS[1]], 3, axis=0)


def swap(betas):
    betas[:120] = np.concatenate([betas[60:120], betas[:60]])


def shuffle_one(betas):
    betas[SESSIONS[2]] = np.random.default_rng(0).permutation(betas[SESSIONS[2]])


def shuffle(betas):
    betas[:] = np.random.default_rng(0).permutation(betas)


def slip(betas):
    betas[90:179] = betas[91:180]


def test_the_true_order_is_recognised(dataset, open_view):
    (finding,) = run_check(open_view, dataset)
    assert finding.level == "ok"
    assert finding.found.startswith("trial i shows image i: fit to pixels z ")


@pytest.mark.parametrize(
    ("corrupt", "messages"),
    [
        (shift, [f"session {s}: the table is off by +1: betas of trial i fit" for s in (1, 2, 3)]),
        (shift_one, ["session 2: the table is off by -3"]),
        (swap, ["session 1: its betas fit the images of session 2", "session 2: its betas fit"]),
        (shuffle_one, ["the table of session 3 (z "]),
    ],
)
def test_each_wrong_order_is_named(dataset, open_view, wrong, corrupt, messages):
    findings = run_check(open_view, dataset, corrupt=corrupt)
    assert wrong(findings) == [("error", "trial order", "subj01")] * len(messages)
    for finding, message in zip(findings, messages, strict=True):
        assert finding.found.startswith(message), finding.found
        assert finding.fix.endswith("mindeye2 prepare table --source lab --out NEW")


def test_a_trial_dropped_on_one_side_is_found_with_its_position(dataset, open_view, wrong):
    own = dataset["trials"]["subject"] == "subj01"
    dataset["trials"].loc[own, ["session", "run", "trial"]] = np.array(
        [np.ones(180), np.repeat([1, 2], 90), np.tile(np.arange(1, 91), 2)], int
    ).T
    findings = run_check(open_view, dataset, corrupt=slip)
    assert wrong(findings) == [("error", "trial order", "subj01")]
    message = r"session 1: the table is off by \+1 from about run (1, trial 8\d|2, trial \d) on"
    assert re.match(message, findings[0].found)


def test_a_small_shift_of_noisy_sessions_is_found_in_all_together(dataset, open_view, wrong):
    noise = np.random.default_rng(0).normal(size=(180, 30))
    dataset["betas"]["subj01"] += (2 * noise).astype(np.float32)
    findings = run_check(open_view, dataset, corrupt=shift)
    assert wrong(findings) == [("error", "trial order", "subj01")]
    assert "off by +1 in all sessions together" in findings[0].found


@pytest.mark.parametrize(("few", "level"), [(100, "error"), (200, "note")])
def test_a_shuffled_table_is_an_error_if_there_are_enough_trials(
    dataset, open_view, monkeypatch, few, level
):
    monkeypatch.setattr("mindeye2.doctor.trial_order.FEW", few)
    (finding,) = run_check(open_view, dataset, corrupt=shuffle)
    assert finding.level == level
    assert ("the table is shuffled" if level == "error" else "too few to decide") in finding.found


def test_a_session_that_fits_no_order_does_not_slip(dataset, open_view):
    """Its predictions are noise, and among many places some run_check like one."""
    _, stats = open_view(dataset, corrupt=shuffle_one)
    fit = SessionFit(session=3, hat=np.eye(60), curve=np.zeros(60), slip=(9.0, 1, 20))
    assert _shifted(fit, stats) == ""
    sure = SessionFit(session=3, hat=np.eye(60), curve=6 * np.eye(60)[0], slip=(9.0, 1, 20))
    assert "off by +1 from about run 1, trial 21 on" in _shifted(sure, stats)


def test_short_sessions_are_a_note(dataset, open_view):
    own = dataset["trials"]["subject"] == "subj01"
    dataset["trials"].loc[own, "session"] = np.repeat(np.arange(9), 20)
    (finding,) = run_check(open_view, dataset)
    assert (finding.level, finding.found) == (
        "note",
        "no session has 24 trials: too few to decide",
    )
