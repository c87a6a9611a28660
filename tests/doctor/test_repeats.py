import re

import numpy as np
import pytest

from mindeye2.doctor.repeats import check_repeats, repeat_scores


def noise(rows):
    def spoil(betas):
        betas[rows] = np.random.default_rng(0).normal(size=betas[rows].shape)

    return spoil


def test_repeats_that_are_alike_are_measured(parts, study):
    (finding,) = check_repeats(*study(parts))
    assert finding.level == "ok"
    assert re.match(r"1\d\d pairs: mean correlation 0\.[2-9]", finding.found)


def test_betas_that_do_not_repeat_are_a_warning(parts, study, wrong):
    findings = check_repeats(*study(parts, spoil=noise(slice(None))))
    assert wrong(findings) == [("warning", "repeats", "subj01")]
    assert "presentations of one image are not alike" in findings[0].found


def test_a_session_that_does_not_repeat_the_others_is_named(parts, study, wrong):
    findings = check_repeats(*study(parts, spoil=noise(slice(120, 180))))
    assert wrong(findings) == [("warning", "repeats", "subj01")]
    assert findings[0].found.startswith("in session 3 (")


def test_few_repeats_say_nothing(parts, study):
    own = parts["trials"]["subject"] == "subj01"
    parts["trials"].loc[own, "image"] = np.arange(180)
    parts["images"] = np.zeros((180, 8, 8, 3), np.uint8)
    parts["trials"].loc[~own, "image"] = np.arange(180)
    parts["trials"]["split"] = np.where(parts["trials"]["image"] < 150, "train", "test")
    (finding,) = check_repeats(*study(parts))
    assert (finding.level, finding.found) == (
        "note",
        "0 repeated presentations: too few to tell",
    )


def test_each_pair_is_two_presentations_of_one_image_and_its_correlation():
    rng = np.random.default_rng(0)
    betas = rng.normal(size=(9, 20)).astype(np.float32)
    images = np.array([4, 7, 4, 1, 7, 4, 2, 2, 9])
    same, pairs, crossed = repeat_scores(betas, images)
    assert sorted(map(tuple, pairs.tolist())) == [(0, 2), (1, 4), (2, 5), (6, 7)]
    for value, (a, b) in zip(same, pairs, strict=True):
        assert value == pytest.approx(np.corrcoef(betas[a], betas[b])[0, 1], abs=1e-5)
    assert len(crossed) == 4
