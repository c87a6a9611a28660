import numpy as np
import pytest

from mindeye2.data.simulated.design import sample_trials

SPLIT = np.array(["train"] * 300 + ["validation"] * 50 + ["test"] * 40)


def _sample(split=SPLIT, *, seed=0, **changes):
    design = {
        "sessions": 3,
        "trials_per_session": 150,
        "runs": 7,
        "repeat_fractions": (0.5, 0.35, 0.15),
        "same_session": 0.4,
        "test_repeats": 3,
    }
    return sample_trials(split, np.random.default_rng(seed), **(design | changes))


def test_every_session_has_its_trials():
    trials = _sample()
    counts = trials.assign(test=trials["split"] == "test").groupby(["session", "test"]).size()
    assert counts.tolist() == [150, 40] * 3


def test_repeats_count_earlier_presentations():
    seen = {}
    for image, repeat in _sample()[["image", "repeat"]].itertuples(index=False):
        assert repeat == seen.get(image, 0)
        seen[image] = repeat + 1
    assert max(seen.values()) == 3


def test_the_split_is_the_one_of_the_image():
    trials = _sample()
    assert (SPLIT[trials["image"]] == trials["split"]).all()
    assert set(trials["split"]) == {"train", "validation", "test"}


def test_each_test_image_is_shown_once_in_each_of_three_sessions():
    test = _sample().query("split == 'test'")
    assert (test.groupby("image")["session"].unique().map(len) == 3).all()
    assert (test["image"].value_counts() == 3).all()
    assert test["image"].nunique() == 40


@pytest.mark.parametrize("sessions", [1, 2, 4, 5])
def test_test_images_are_spread_evenly_over_any_number_of_sessions(sessions):
    test = _sample(sessions=sessions, trials_per_session=60).query("split == 'test'")
    assert (test["image"].value_counts() == 3).all()
    per_session = test["session"].value_counts()
    assert len(per_session) == sessions
    assert per_session.max() - per_session.min() <= 1
    assert (test.groupby("image")["session"].nunique() == min(3, sessions)).all()


def test_images_are_shown_as_often_as_their_shares_say():
    shown = _sample().query("split != 'test'")["image"].value_counts().value_counts(normalize=True)
    assert shown[1] == pytest.approx(0.5, abs=0.1)
    assert shown[2] == pytest.approx(0.35, abs=0.1)
    assert shown[3] == pytest.approx(0.15, abs=0.1)


def test_later_presentations_come_within_and_between_sessions():
    shown = _sample().query("split != 'test'").sort_values(["image", "repeat"])
    later = shown.groupby("image")["session"].diff().dropna()
    assert (later == 0).mean() == pytest.approx(0.4, abs=0.12)


def test_with_few_images_they_are_shown_more_often():
    trials = _sample(SPLIT[200:], sessions=3, trials_per_session=150)
    counts = trials.query("split != 'test'")["image"].value_counts()
    assert len(counts) == 150
    assert (counts == 3).all()


def test_trials_count_from_one_in_runs_of_nearly_equal_length():
    for _, run in _sample().groupby(["session", "run"]):
        assert run["trial"].tolist() == list(range(1, len(run) + 1))
        assert len(run) in {27, 28}


def test_the_order_is_shuffled():
    trials = _sample()
    first = trials[trials["session"] == 1]
    where = np.flatnonzero(first["split"] == "test")
    assert where.min() < 30
    assert where.max() > 160
    assert not first["image"].is_monotonic_increasing


def test_too_few_images_are_refused_with_the_number_needed():
    message = (
        r"there are 100 training and validation images, too few for 450 trials with at most 3 "
        r"presentations each\. Give at least 150 images, or lower sessions or trials_per_session"
    )
    with pytest.raises(ValueError, match=message):
        _sample(SPLIT[250:])
