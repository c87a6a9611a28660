import numpy as np
import pandas as pd
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.known_images import check_known_images, held_out_unit
from mindeye2.data.prepared.consistency import check_trials
from mindeye2.data.splits import SplitSettings, make_splits


@pytest.fixture
def trials():
    """Return 2 subjects who saw 5 images once in each of 8 runs."""
    rows = [
        {"subject": s, "session": 1 + run // 5, "run": run, "image": image}
        for s in ("a", "b")
        for run in range(1, 9)
        for image in range(5)
    ]
    return pd.DataFrame(rows).assign(source_image=lambda t: t["image"])


def split(trials, **values):
    return make_splits(
        trials, settings=SplitSettings(**values), kind="table", design="known_images"
    )


def test_whole_runs_are_held_out_where_each_shows_every_image(trials):
    found = trials.assign(split=split(trials))
    assert found.groupby(["subject", "session", "run"])["split"].nunique().max() == 1
    assert found["split"].value_counts().to_dict() == {"train": 50, "test": 20, "validation": 10}
    check_known_images(found)


def test_trials_of_every_image_are_held_out_where_runs_differ(trials):
    partial = trials[(trials["run"] > 1) | (trials["image"] > 0)]
    assert held_out_unit(partial, None) == "trial"
    found = partial.assign(split=split(partial, test=0.25, validation=0.2))
    counts = found.groupby(["subject", "image"])["split"].value_counts().unstack()
    assert counts["test"].eq(2).all()
    assert counts["validation"].eq(1).all()
    assert found.groupby(["subject", "run"])["split"].nunique().max() > 1


def test_the_choice_depends_on_the_seed_and_not_on_other_subjects(trials):
    alone = trials[trials["subject"] == "b"]
    pd.testing.assert_series_equal(split(alone), split(trials)[alone.index])
    assert not split(trials).equals(split(trials, seed=1))


def test_a_column_split_is_kept(trials):
    given = trials.assign(split=np.where(trials["run"] > 6, "test", "train"))
    assert split(given).equals(given["split"])


def test_an_image_that_is_shown_once_is_refused(trials):
    once = pd.concat([trials, trials.iloc[:1].assign(image=9, source_image="nine")])
    with pytest.raises(ArtifactError, match=r"'nine' is shown to a once.*table\.design=new_im"):
        split(once.reset_index(drop=True))


def test_one_run_cannot_be_split_by_run(trials):
    with pytest.raises(ArtifactError, match=r"a has one run.*table\.splits\.by=trial"):
        split(trials[trials["run"] == 1], by="run")


def test_a_test_image_must_be_known(trials):
    found = trials.assign(split=split(trials), trial=1, repeat=0)
    check_trials(found, n_images=5, design="known_images")
    with pytest.raises(ArtifactError, match=r"in more than one split.*KIND\.design=known_images"):
        check_trials(found, n_images=5)
    unknown = found[(found["image"] != 3) | (found["split"] == "test")]
    with pytest.raises(ArtifactError, match=r"a has 1 test images that none of the training"):
        check_trials(unknown, n_images=5, design="known_images")
