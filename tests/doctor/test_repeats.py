import re

import numpy as np
import pytest

from mindeye2.doctor.repeats import check_repeats, repeat_correlations


def noise(rows):
    def corrupt(betas):
        betas[rows] = np.random.default_rng(0).normal(size=betas[rows].shape)

    return corrupt


def test_reliable_repeats_are_measured(dataset, open_view):
    (finding,) = check_repeats(*open_view(dataset))
    assert finding.level == "ok"
    assert re.match(r"1\d\d pairs: mean correlation 0\.[2-9]", finding.found)


def test_betas_that_do_not_repeat_are_a_warning(dataset, open_view, wrong):
    findings = check_repeats(*open_view(dataset, corrupt=noise(slice(None))))
    assert wrong(findings) == [("warning", "repeats", "subj01")]
    assert "betas of one image are not similar" in findings[0].found


def test_a_session_that_does_not_repeat_the_others_is_named(dataset, open_view, wrong):
    findings = check_repeats(*open_view(dataset, corrupt=noise(slice(120, 180))))
    assert wrong(findings) == [("warning", "repeats", "subj01")]
    assert findings[0].found.startswith("session 3 (")


def test_few_repeats_are_a_note(dataset, open_view):
    own = dataset["trials"]["subject"] == "subj01"
    dataset["trials"].loc[own, "image"] = np.arange(180)
    dataset["images"] = np.zeros((180, 8, 8, 3), np.uint8)
    dataset["trials"].loc[~own, "image"] = np.arange(180)
    dataset["trials"]["split"] = np.where(dataset["trials"]["image"] < 150, "train", "test")
    (finding,) = check_repeats(*open_view(dataset))
    assert (finding.level, finding.found) == (
        "note",
        "0 repeated presentations: too few to decide",
    )


def test_each_pair_is_two_presentations_of_one_image_and_its_correlation():
    rng = np.random.default_rng(0)
    betas = rng.normal(size=(9, 20)).astype(np.float32)
    images = np.array([4, 7, 4, 1, 7, 4, 2, 2, 9])
    same, pairs, crossed = repeat_correlations(betas, images)
    assert sorted(map(tuple, pairs.tolist())) == [(0, 2), (1, 4), (2, 5), (6, 7)]
    for value, (a, b) in zip(same, pairs, strict=True):
        assert value == pytest.approx(np.corrcoef(betas[a], betas[b])[0, 1], abs=1e-5)
    assert len(crossed) == 4
