import json

import numpy as np
import pytest

from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.doctor.diagnose import Diagnosis, doctor
from mindeye2.doctor.finding import Finding


@pytest.fixture
def run_check(wrong):
    """Return what examines a folder and gives all that is wrong but the machine itself."""
    return lambda folder, **given: wrong(
        f for f in doctor(folder, **given).findings if f.check != "environment"
    )


def test_a_sound_data_set_has_no_errors(dataset, write_dataset, run_check):
    folder = write_dataset(dataset)
    assert run_check(folder) == []
    checks = {f.check for f in doctor(folder).findings if f.level == "ok"}
    assert checks >= {
        *("files", "counts", "images", "voxels", "fitted on"),
        *("duplicates", "repeats", "trial order"),
    }


@pytest.mark.parametrize(
    ("corrupt", "expected"),
    [
        (lambda b: b.__setitem__((4, 3), np.nan), {"voxels"}),
        (lambda b: b.__setitem__(slice(120, 180), b[:60].copy()), {"duplicates"}),
        (lambda b: b.__setitem__(slice(None), np.roll(b, 1, axis=0)), {"trial order"}),
    ],
    ids=["NaN", "duplicated", "off by one"],
)
def test_an_error_in_one_subject_is_reported_for_that_subject_only(
    dataset, write_dataset, run_check, corrupt, expected
):
    found = run_check(write_dataset(dataset, corrupt=corrupt))
    assert expected <= {check for _, check, _ in found}
    assert {where for _, _, where in found} == {"subj01"}


def test_damaged_files_do_not_stop_the_checks_of_the_others(dataset, write_dataset, run_check):
    folder = write_dataset(dataset)
    path = folder / "betas" / "subj01.npy"
    path.write_bytes(path.read_bytes()[:-100])
    assert {where for _, _, where in run_check(folder)} == {"betas/subj01.npy"}
    (note,) = [f for f in doctor(folder).findings if f.where == "subj01"]
    assert "betas were not checked" in note.found
    assert any(f.check == "trial order" for f in doctor(folder).findings)


@pytest.mark.parametrize("name", ["images.npy", "trials.parquet"])
def test_a_data_set_without_its_images_or_table_is_checked_as_far_as_possible(
    dataset, write_dataset, run_check, name
):
    folder = write_dataset(dataset)
    (folder / name).unlink()
    assert ("error", "files", name) in run_check(folder)


def test_damaged_results_are_named_and_not_a_traceback(tmp_path, run_check):
    (tmp_path / "scores.parquet").write_bytes(b"x")
    write_manifest(tmp_path, stage="evaluate", config={})
    (tmp_path / "scores.parquet").write_bytes(b"xx")
    assert run_check(tmp_path) == [("error", "files", "scores.parquet")]


def test_a_folder_of_folders_is_checked_one_by_one(dataset, write_dataset, tmp_path, run_check):
    write_dataset(dataset)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text("a: 1")
    (tmp_path / "else").mkdir()
    assert run_check(tmp_path) == [("error", "files", str(tmp_path / "begun"))]


def test_an_empty_folder_is_an_error(tmp_path, run_check):
    assert run_check(tmp_path) == [("error", "files", str(tmp_path))]


def test_no_folder_is_refused_and_none_is_the_environment(tmp_path):
    with pytest.raises(
        ArtifactError, match=r"nowhere is not a folder\. Give the folder of a stage"
    ):
        doctor(tmp_path / "nowhere")
    assert {f.check for f in doctor().findings} == {"environment"}


def test_the_json_has_every_finding_and_whether_anything_is_wrong():
    finding = Finding("warning", "files", where="a", found="b", fix="c")
    diagnosis = Diagnosis(findings=[finding], seconds=1.0, peak_memory_gib=0.5)
    read = json.loads(diagnosis.as_json())
    assert (read["wrong"], read["counts"]["warning"], read["counts"]["error"]) == (True, 1, 0)
    assert read["findings"] == [
        {"level": "warning", "check": "files", "where": "a", "found": "b", "fix": "c"}
    ]
