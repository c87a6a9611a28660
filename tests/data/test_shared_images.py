import numpy as np
import pandas as pd
import pytest

from mindeye2.data.shared_images import split_by_sharing


@pytest.fixture
def trials():
    """Return two people; images below 10 are shared, the others each person's own."""
    rng = np.random.default_rng(0)
    tables = []
    for number, subject in enumerate(["subj01", "subj02"]):
        shown = rng.permutation(np.repeat([*range(10), *range(100 + number, 300, 2)], 2))
        tables.append(pd.DataFrame({"subject": subject, "source_image": shown}))
    table = pd.concat(tables, ignore_index=True)
    return table.assign(shared1000=table["source_image"] < 10)


def test_rows_of_images_follow_their_names_in_the_source(trials):
    found = split_by_sharing(trials, validation_share=0.1, seed=0)
    ids = np.unique(trials["source_image"])
    np.testing.assert_array_equal(ids[found["image"]], trials["source_image"])


def test_repeats_count_earlier_presentations_to_the_same_person(trials):
    found = split_by_sharing(trials, validation_share=0.1, seed=0)
    assert found.groupby(["subject", "image"])["repeat"].agg(list).map(lambda r: r == [0, 1]).all()


def test_splits_are_disjoint_in_images_and_shared_ones_are_the_test(trials):
    found = split_by_sharing(trials, validation_share=0.1, seed=0)
    assert found.groupby("image")["split"].nunique().max() == 1
    assert (found["split"].eq("test") == found["shared1000"]).all()
    counts = found[found["split"] == "validation"].groupby("subject")["image"].nunique()
    assert counts.tolist() == [10, 10]


@pytest.mark.parametrize(("share", "count"), [(0, 0), (0.001, 2), (0.999, 99)])
def test_there_are_two_validation_images_or_none_and_something_to_train_on(trials, share, count):
    found = split_by_sharing(trials, validation_share=share, seed=0)
    own = found[found["subject"] == "subj01"]
    assert own.loc[own["split"] == "validation", "image"].nunique() == count
    assert (own["split"] == "train").any()


def test_another_seed_chooses_others(trials):
    first, second = (split_by_sharing(trials, validation_share=0.1, seed=s) for s in (0, 1))
    assert (first["split"] != second["split"]).any()
