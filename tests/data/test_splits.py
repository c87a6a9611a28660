import numpy as np
import pandas as pd
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.splits import SplitSettings, make_splits, split_held_out


@pytest.fixture
def trials():
    """Return 2 subjects who saw the same 20 images once, and 10 others each."""
    rows = [
        {"subject": subject, "image": image}
        for subject, own in (("a", range(20, 30)), ("b", range(30, 40)))
        for image in [*range(20), *own]
    ]
    return pd.DataFrame(rows)


def images(trials, split, name):
    return set(trials["image"][split == name])


def test_splits_are_disjoint_in_images_and_have_the_fractions_asked_for(trials):
    split = make_splits(trials, settings=SplitSettings(test=0.2, validation=0.25))
    found = {name: images(trials, split, name) for name in ("train", "validation", "test")}
    assert sum(map(len, found.values())) == len(set.union(*found.values())) == 40
    assert (len(found["test"]), len(found["validation"])) == (8, 8)


def test_images_that_all_subjects_saw_are_tested_first(trials):
    often = pd.DataFrame({"subject": ["a"] * 5, "image": [25] * 5})  # but by one subject only
    both = pd.concat([trials, often], ignore_index=True)
    split = make_splits(both, settings=SplitSettings(test=0.4))
    assert images(both, split, "test") < set(range(20))


def test_repeated_images_are_tested_first(trials):
    again = trials[trials["image"].isin([3, 7])]
    both = pd.concat([trials, again], ignore_index=True)
    split = make_splits(both, settings=SplitSettings(test=0.05))
    assert images(both, split, "test") == {3, 7}


def test_two_images_are_tested_at_least(trials):
    """Scores compare images, so that one could not be scored."""
    few = trials[trials["image"] < 10]
    split = make_splits(few, settings=SplitSettings())
    assert [len(images(few, split, s)) for s in ("train", "validation", "test")] == [7, 1, 2]


def test_the_seed_chooses_and_the_order_of_rows_does_not(trials):
    first = make_splits(trials, settings=SplitSettings())
    mixed = trials.sample(frac=1, random_state=0)
    assert make_splits(mixed, settings=SplitSettings()).sort_index().equals(first)
    other = make_splits(trials, settings=SplitSettings(seed=1))
    assert images(trials, other, "test") != images(trials, first, "test")


def test_a_given_split_is_kept_but_for_sampled_validation_images(trials):
    given = trials.assign(split=["test" if i < 5 else "train" for i in trials["image"]])
    split = make_splits(given, settings=SplitSettings(validation=0.2))
    assert images(given, split, "test") == set(range(5))
    assert len(images(given, split, "validation")) == 7
    full = given.assign(split=split)
    assert make_splits(full, settings=SplitSettings(seed=9)).equals(split)
    assert make_splits(given, settings=SplitSettings(validation=0)).equals(given["split"])


def test_sampling_validation_images_hides_no_image_of_two_splits(trials):
    leaking = trials.assign(split=["train", "test"] * 30)
    split = make_splits(leaking, settings=SplitSettings(validation=0.5))
    shared = leaking.groupby("image")["split"].nunique() > 1
    assert (leaking.assign(split=split).groupby("image")["split"].nunique() > 1).equals(shared)


def test_too_few_images_are_refused():
    trials = pd.DataFrame({"subject": "a", "image": [0, 1, 2]})
    message = r"1 images are left to train on, and 1 of them .*table\.splits\.test and table\.sp"
    with pytest.raises(ArtifactError, match=message):
        make_splits(trials, settings=SplitSettings(), kind="table")


@pytest.fixture
def shared():
    """Return two subjects; images below 10 are shared, each subject has others of its own."""
    rng = np.random.default_rng(0)
    tables = []
    for number, subject in enumerate(["subj01", "subj02"]):
        shown = rng.permutation(np.repeat([*range(10), *range(100 + number, 300, 2)], 2))
        tables.append(pd.DataFrame({"subject": subject, "source_image": shown}))
    table = pd.concat(tables, ignore_index=True)
    return table.assign(shared1000=table["source_image"] < 10)


def test_rows_of_images_follow_their_names_in_the_source(shared):
    found = split_held_out(shared, held_out="shared1000", validation_fraction=0.1, seed=0)
    ids = np.unique(shared["source_image"])
    np.testing.assert_array_equal(ids[found["image"]], shared["source_image"])


def test_repeats_count_earlier_presentations_to_the_same_subject(shared):
    found = split_held_out(shared, held_out="shared1000", validation_fraction=0.1, seed=0)
    assert found.groupby(["subject", "image"])["repeat"].agg(list).map(lambda r: r == [0, 1]).all()


def test_splits_are_disjoint_in_images_and_shared_ones_are_the_test(shared):
    found = split_held_out(shared, held_out="shared1000", validation_fraction=0.1, seed=0)
    assert found.groupby("image")["split"].nunique().max() == 1
    assert (found["split"].eq("test") == found["shared1000"]).all()
    counts = found[found["split"] == "validation"].groupby("subject")["image"].nunique()
    assert counts.tolist() == [10, 10]


@pytest.mark.parametrize(("fraction", "count"), [(0, 0), (0.001, 2), (0.999, 99)])
def test_there_are_two_validation_images_or_none_and_something_to_train_on(
    shared, fraction, count
):
    found = split_held_out(shared, held_out="shared1000", validation_fraction=fraction, seed=0)
    own = found[found["subject"] == "subj01"]
    assert own.loc[own["split"] == "validation", "image"].nunique() == count
    assert (own["split"] == "train").any()


def test_another_seed_chooses_others(shared):
    first, second = (
        split_held_out(shared, held_out="shared1000", validation_fraction=0.1, seed=s)
        for s in (0, 1)
    )
    assert (first["split"] != second["split"]).any()
