import json

import numpy as np
import pandas as pd
import pytest

from mindeye2.doctor.counts import DECLARED, check_counts, check_trial_table
from mindeye2.doctor.dataset_view import open_dataset
from mindeye2.doctor.integrity import read_damaged_manifest


def test_consistent_parts_are_counted(dataset, open_view):
    view, _ = open_view(dataset)
    (finding,) = check_counts(view)
    assert (finding.level, finding.found) == (
        "ok",
        "2 subjects, 360 trials, 80 images: consistent",
    )
    (finding,) = check_trial_table(view)
    assert finding.found == "splits are disjoint in images: 12 test, 60 train, 8 validation"


def rewrite(folder, name, value):
    if isinstance(value, pd.DataFrame):
        value.to_parquet(folder / name)
    else:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, value)


@pytest.mark.parametrize(
    ("name", "value", "where", "message"),
    [
        (
            "betas/subj01.npy",
            np.ones((179, 30)),
            "subj01",
            "179 x 30, but the trial table has 180",
        ),
        ("voxels/subj02.parquet", pd.DataFrame({"i": [1, 2]}), "subj02", "table has 2 voxels"),
        ("targets/lite0/values.npy", np.ones((79, 3)), "targets/lite0", "79 rows for 80 images"),
        (
            "captions.parquet",
            pd.DataFrame({"image": [1, 1]}),
            "captions.parquet",
            "1 rows for 80 images",
        ),
    ],
)
def test_a_part_that_does_not_fit_is_named(
    dataset, write_dataset, wrong, name, value, where, message
):
    folder = write_dataset(dataset)
    rewrite(folder, name, value.astype(np.float16) if name == "betas/subj01.npy" else value)
    view, _ = open_dataset(folder, read_damaged_manifest(folder))
    findings = check_counts(view)
    assert wrong(findings) == [("error", "counts", where)]
    assert message in findings[0].found


def test_a_bank_that_was_not_finished_is_named(dataset, write_dataset, wrong):
    folder = write_dataset(dataset)
    rewrite(folder, "targets/lite0/values.npy", np.ones((80, 3)))
    (folder / "targets/lite0/encoder.json").write_text(json.dumps({"done": 64}))
    findings = check_counts(open_dataset(folder, read_damaged_manifest(folder))[0])
    assert wrong(findings) == [("error", "counts", "targets/lite0")]


def test_trials_of_a_subject_without_betas_are_named(dataset, open_view, wrong):
    guest = dataset["trials"][:10].assign(subject="subj09")
    dataset["trials"] = pd.concat([dataset["trials"], guest])
    view, _ = open_view(dataset)
    findings = check_counts(view)
    assert wrong(findings) == [("error", "counts", "data")]
    assert "trials of subj09, but there are no betas" in findings[0].found


@pytest.mark.parametrize(
    ("declared", "level", "message"),
    [
        ({"sessions": 3, "per_session": 60}, None, ""),
        ({"sessions": 5, "per_session": 60}, "note", "3 sessions, the source declares 5"),
        ({"sessions": 2}, "error", "3 sessions, the source declares 2"),
        ({"trials": 181}, "error", "180 trials, the source declares 181"),
        ({"per_session": 62}, "error", "with other than 62 trials: 1 has 60, 2 has 60, 3 has 60"),
    ],
)
def test_counts_are_compared_with_what_the_source_declares(
    dataset, open_view, declared, level, message
):
    view, _ = open_view(dataset, declared={"subj01": declared})
    levels = {f.level: f.found for f in check_counts(view) if f.where == "subj01"}
    assert levels == ({} if level is None else {level: levels.get(level)})
    assert message in str(levels.get(level))


def test_subjects_that_are_not_here_are_noted(dataset, open_view):
    declared = {s: {} for s in ("subj01", "subj02", "subj03")}
    view, _ = open_view(dataset, declared=declared)
    (note, _) = check_counts(view)
    assert (note.level, note.found) == (
        "note",
        "the source has 3 subjects; not here: subj03",
    )


def test_nsd_declares_what_its_paper_does():
    nsd = DECLARED["nsd"]({})
    assert [subject["sessions"] for subject in nsd.values()] == [40, 40, 32, 30, 40, 32, 40, 30]
    assert {subject["per_session"] for subject in nsd.values()} == {750}


@pytest.mark.parametrize(
    ("kind", "chosen", "expected"),
    [
        ("nsd", {"train_sessions": [1, 2, 31]}, {"sessions": 30}),
        ("nsd", {"train_sessions": [1, 31], "test_sessions": [1, 2]}, {"sessions": 2}),
        ("nsd", {"protocol": 982}, {"sessions": 30}),
        ("released", {"test_set": "new_test"}, {"sessions": 30}),
        ("released", {"test_set": "test"}, {"sessions": 27}),
    ],
)
def test_settings_of_a_source_change_what_it_declares(kind, chosen, expected):
    config = {kind: {"subjects": ["subj04"], **chosen}}
    assert DECLARED[kind](config) == {"subj04": expected}


def test_rows_need_not_be_in_the_order_of_presentation(dataset, write_dataset, wrong):
    folder = write_dataset(dataset)
    shuffled = dataset["trials"].sample(frac=1, random_state=0, ignore_index=True)
    rewrite(folder, "trials.parquet", shuffled)
    assert wrong(check_trial_table(open_dataset(folder, read_damaged_manifest(folder))[0])) == []


@pytest.mark.parametrize(
    ("change", "level", "message"),
    [
        (lambda t: t.assign(image=t["image"] + 1), "error", "trials show images that are missing"),
        (lambda t: t.assign(split=["test", "train"] * 180), "error", "in more than one split"),
        (lambda t: t.assign(repeat=0), "warning", "'repeat' does not count earlier"),
        (lambda t: t.assign(run=1), "error", "180 trials are listed twice (first: subject subj01"),
    ],
    ids=["image", "split", "repeat", "twice"],
)
def test_errors_in_the_trial_table_are_named(
    dataset, write_dataset, wrong, change, level, message
):
    folder = write_dataset(dataset)
    rewrite(folder, "trials.parquet", change(dataset["trials"]))
    findings = check_trial_table(open_dataset(folder, read_damaged_manifest(folder))[0])
    assert wrong(findings) == [(level, "counts", "trials.parquet")]
    assert message in findings[0].found
