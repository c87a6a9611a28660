from pathlib import Path

import pandas as pd
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.trial_table import complete_trials, number_images, read_table

PATH = Path("trials.csv")


def complete(**columns):
    return complete_trials(pd.DataFrame(columns), source=PATH)


def number(**columns):
    return number_images(complete(**columns), source=PATH)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "image,rt\n0012,1.5\ncat,n/a\n"),
        ("a.tsv", "image\trt\n0012\t1.5\ncat\tn/a\n"),
        ("a.txt", "image\trt\n0012\t1.5\ncat\tn/a\n"),
    ],
)
def test_text_tables_keep_names_that_look_like_numbers(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    table = read_table(tmp_path / name, text=["image"])
    assert table["image"].tolist() == ["0012", "cat"]
    assert table["rt"].isna().tolist() == [False, True]


def test_parquet_is_read_as_it_is(tmp_path):
    pd.DataFrame({"image": ["a"]}).to_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet")["image"].tolist() == ["a"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, r"none\.csv does not exist\. Write one row per trial.*'fig01\.png,1'"),
        ("a.xlsx", b"x", r"must be one of .*got '\.xlsx'"),
        ("a.csv", b"image\n", "has no rows"),
        (
            "a.csv",
            b"image;run\na;1\n",
            r"columns by semicolons, but \.csv is read with commas\. S",
        ),
        ("a.csv", b"image\trun\na\t1\n", r"columns by tabs, but .* with commas, or name it \.tsv"),
        ("a.tsv", b"image,run\na,1\n", r"columns by commas, but \.tsv is read with tabs\."),
        ("a.csv", b"", "cannot be read as a table"),
        ("a.parquet", b"no parquet", "cannot be read as a table"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        read_table(tmp_path / name)


def test_a_table_of_another_suffix_is_named_with_the_setting(tmp_path):
    (tmp_path / "trials.tsv").touch()
    message = r"csv does not exist\. trials\.tsv is there: --set table\.trials=trials\.tsv\."
    with pytest.raises(ArtifactError, match=message):
        read_table(tmp_path / "trials.csv", setting="table.trials")


def test_what_a_table_lacks_is_one_subject_one_session_one_run():
    found = complete(image=["b", "a", "b"])
    assert found[["subject", "session", "run", "trial"]].to_numpy().tolist() == [
        ["subj01", 1, 1, 1],
        ["subj01", 1, 1, 2],
        ["subj01", 1, 1, 3],
    ]


def test_trials_are_counted_within_their_session():
    found = complete(image=["a"] * 5, session=[1, 1, 2, 2, 2], subject=[3] * 5)
    assert found["trial"].tolist() == [1, 2, 1, 2, 3]
    assert set(found["subject"]) == {"subj03"}


def test_columns_may_have_other_names():
    table = pd.DataFrame({"stim": ["a"], "who": ["S1"], "image": ["not this"], "rt": [0.4]})
    found = complete_trials(table, source=PATH, columns={"image": "stim", "subject": "who"})
    assert (found["image"][0], found["subject"][0], found["rt"][0]) == ("a", "S1", 0.4)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": "stim_file"}, r"trials\.csv has no column 'stim_file'.*it has \['photo'\]"),
        ({"photo": "photo"}, r"table\.columns names 'photo'; it takes \['image', 'subject'"),
        (
            {},
            r"no column 'image'; it has \['photo'\].*--set 'table\.columns=\{image: stim_file\}'",
        ),
    ],
)
def test_a_missing_column_is_named_with_those_there(columns, message):
    with pytest.raises(ArtifactError, match=message):
        complete_trials(pd.DataFrame({"photo": ["a"]}), source=PATH, columns=columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": ["a", None, "b"]}, r"empty values in \['image'\] \(lines \[3\]\)"),
        ({"image": ["a"], "session": [0]}, r"'0' in the column 'session' \(line 2\)"),
        ({"image": ["a"], "run": [1.5]}, r"'1\.5' in the column 'run' \(line 2\); whole numbers"),
        ({"image": ["a"], "subject": ["../x"]}, r"subjects \['\.\./x'\]; letters, digits"),
        (
            {"image": ["a", "b"], "trial": [4, 4]},
            r"1 duplicate trials: the first is trial 4 in run 1 of session 1",
        ),
    ],
    ids=["empty", "zero", "fraction", "path", "twice"],
)
def test_a_wrong_value_is_named_with_its_line(columns, message):
    with pytest.raises(ArtifactError, match=message):
        complete(**columns)


def test_images_are_numbered_by_name():
    study = number(image=["b", "a", "b"], caption=["a bee", "an ant", "a bee"])
    assert study.names == ["a", "b"]
    assert study.trials["image"].tolist() == [1, 0, 1]
    assert study.trials["source_image"].tolist() == ["b", "a", "b"]
    assert (study.captions, study.categories) == (["an ant", "a bee"], None)


def test_repeats_count_earlier_presentations_to_the_same_person():
    """In the order of presentation; the rows may come in another."""
    study = number(
        image=["a", "a", "a", "a"],
        subject=["s", "s", "s", "t"],
        session=[2, 1, 1, 1],
        trial=[1, 2, 1, 1],
    )
    assert study.trials["repeat"].tolist() == [2, 1, 0, 0]


def test_two_captions_for_one_image_are_refused():
    with pytest.raises(ArtifactError, match=r"1 images more than one caption \(first: 'a'\)"):
        number(image=["a", "a", "b"], caption=["one", "two", "three"])
