import json

import numpy as np
import pandas as pd
import pytest

from mindeye2.doctor.counts import DECLARED, check_counts, check_table
from mindeye2.doctor.files import read_loosely
from mindeye2.doctor.study import open_study


def test_what_fits_is_counted(parts, study):
    found, _ = study(parts)
    (finding,) = check_counts(found)
    assert (finding.level, finding.found) == (
        "ok",
        "2 subjects, 360 trials, 80 images: all fit",
    )
    (finding,) = check_table(found)
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
        ("betas/subj01.npy", np.ones((179, 30)), "subj01", "179 x 30, but the table has 180 tri"),
        ("voxels/subj02.parquet", pd.DataFrame({"i": [1, 2]}), "subj02", "table says 2 voxels"),
        ("targets/lite0/values.npy", np.ones((79, 3)), "targets/lite0", "79 for 80 images"),
        ("captions.parquet", pd.DataFrame({"image": [1, 1]}), "captions.parquet", "1 for 80 im"),
    ],
)
def test_a_part_that_does_not_fit_is_named(parts, write, wrong, name, value, where, message):
    folder = write(parts)
    rewrite(folder, name, value.astype(np.float16) if name == "betas/subj01.npy" else value)
    found, _ = open_study(folder, read_loosely(folder))
    findings = check_counts(found)
    assert wrong(findings) == [("error", "counts", where)]
    assert message in findings[0].found


def test_a_bank_that_was_not_finished_is_named(parts, write, wrong):
    folder = write(parts)
    rewrite(folder, "targets/lite0/values.npy", np.ones((80, 3)))
    (folder / "targets/lite0/encoder.json").write_text(json.dumps({"done": 64}))
    findings = check_counts(open_study(folder, read_loosely(folder))[0])
    assert wrong(findings) == [("error", "counts", "targets/lite0")]


def test_trials_of_somebody_without_betas_are_named(parts, study, wrong):
    guest = parts["trials"][:10].assign(subject="subj09")
    parts["trials"] = pd.concat([parts["trials"], guest])
    found, _ = study(parts)
    findings = check_counts(found)
    assert wrong(findings) == [("error", "counts", "data")]
    assert "trials of subj09, who have no betas" in findings[0].found


@pytest.mark.parametrize(
    ("declared", "level", "message"),
    [
        ({"sessions": 3, "per_session": 60}, None, ""),
        ({"sessions": 5, "per_session": 60}, "note", "3 sessions, the source declares 5"),
        ({"sessions": 2}, "error", "3 sessions, the source declares 2"),
        ({"trials": 181}, "error", "180 trials, the source declares 181"),
        ({"per_session": 62}, "error", "other than 62 trials: 1 has 60, 2 has 60, 3 has 60"),
    ],
)
def test_counts_are_compared_with_what_the_source_declares(parts, study, declared, level, message):
    found, _ = study(parts, declared={"subj01": declared})
    levels = {f.level: f.found for f in check_counts(found) if f.where == "subj01"}
    assert levels == ({} if level is None else {level: levels.get(level)})
    assert message in str(levels.get(level))


def test_subjects_that_are_not_here_are_noted(parts, study):
    declared = {s: {} for s in ("subj01", "subj02", "subj03")}
    found, _ = study(parts, declared=declared)
    (note, _) = check_counts(found)
    assert (note.level, note.found) == (
        "note",
        "the source has 3 subjects; not here: subj03",
    )


def test_nsd_declares_what_its_paper_does():
    nsd = DECLARED["nsd"]({})
    assert [people["sessions"] for people in nsd.values()] == [40, 40, 32, 30, 40, 32, 40, 30]
    assert {people["per_session"] for people in nsd.values()} == {750}


@pytest.mark.parametrize(
    ("kind", "chosen", "expected"),
    [
        ("nsd", {"sessions": [1, 2, 31]}, {"sessions": 2, "per_session": 750}),
        ("nsd", {"protocol": 982}, {"sessions": 30}),
        ("released", {"test_set": "new_test"}, {"sessions": 30}),
        ("released", {"test_set": "test"}, {"sessions": 27}),
    ],
)
def test_what_was_asked_for_is_what_is_expected(kind, chosen, expected):
    config = {kind: {"subjects": ["subj04"], **chosen}}
    assert DECLARED[kind](config) == {"subj04": expected}


def test_rows_need_not_be_in_the_order_of_presentation(parts, write, wrong):
    folder = write(parts)
    shuffled = parts["trials"].sample(frac=1, random_state=0, ignore_index=True)
    rewrite(folder, "trials.parquet", shuffled)
    assert wrong(check_table(open_study(folder, read_loosely(folder))[0])) == []


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
def test_what_is_wrong_inside_the_table_is_named(parts, write, wrong, change, level, message):
    folder = write(parts)
    rewrite(folder, "trials.parquet", change(parts["trials"]))
    findings = check_table(open_study(folder, read_loosely(folder))[0])
    assert wrong(findings) == [(level, "counts", "trials.parquet")]
    assert message in findings[0].found
