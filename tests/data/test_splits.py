import pandas as pd
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.splits import SplitSettings, make_splits


@pytest.fixture
def trials():
    """Return 2 people who saw the same 20 images once, and 10 others each."""
    rows = [
        {"subject": subject, "image": image}
        for subject, own in (("a", range(20, 30)), ("b", range(30, 40)))
        for image in [*range(20), *own]
    ]
    return pd.DataFrame(rows)


def images(trials, split, name):
    return set(trials["image"][split == name])


def test_splits_are_disjoint_in_images_and_have_the_shares_asked_for(trials):
    split = make_splits(trials, settings=SplitSettings(test=0.2, validation=0.25))
    found = {name: images(trials, split, name) for name in ("train", "validation", "test")}
    assert sum(map(len, found.values())) == len(set.union(*found.values())) == 40
    assert (len(found["test"]), len(found["validation"])) == (8, 8)


def test_what_everybody_saw_is_tested_first(trials):
    often = pd.DataFrame({"subject": ["a"] * 5, "image": [25] * 5})  # but by one person only
    both = pd.concat([trials, often], ignore_index=True)
    split = make_splits(both, settings=SplitSettings(test=0.4))
    assert images(both, split, "test") < set(range(20))


def test_what_was_repeated_is_tested_first(trials):
    again = trials[trials["image"].isin([3, 7])]
    both = pd.concat([trials, again], ignore_index=True)
    split = make_splits(both, settings=SplitSettings(test=0.05))
    assert images(both, split, "test") == {3, 7}


def test_the_seed_chooses_and_the_order_of_rows_does_not(trials):
    first = make_splits(trials, settings=SplitSettings())
    mixed = trials.sample(frac=1, random_state=0)
    assert make_splits(mixed, settings=SplitSettings()).sort_index().equals(first)
    other = make_splits(trials, settings=SplitSettings(seed=1))
    assert images(trials, other, "test") != images(trials, first, "test")


def test_a_given_split_stays_and_only_lends_validation_images(trials):
    given = trials.assign(split=["test" if i < 5 else "train" for i in trials["image"]])
    split = make_splits(given, settings=SplitSettings(validation=0.2))
    assert images(given, split, "test") == set(range(5))
    assert len(images(given, split, "validation")) == 7
    full = given.assign(split=split)
    assert make_splits(full, settings=SplitSettings(seed=9)).equals(split)
    assert make_splits(given, settings=SplitSettings(validation=0)).equals(given["split"])


def test_too_few_images_are_refused():
    trials = pd.DataFrame({"subject": "a", "image": [0, 1]})
    with pytest.raises(ArtifactError, match="1 images are left to train on, and 1 of them"):
        make_splits(trials, settings=SplitSettings())
