import json

import pytest

from mindeye2.core.artifacts import record_path
from mindeye2.doctor.integrity import check_files, check_manifest, read_damaged_manifest

BETAS = "betas/subj01.npy"


@pytest.fixture
def folder(dataset, write_dataset):
    return write_dataset(dataset)


def damage(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-10], r"is truncated: \d+ bytes, but \d+ were written"),
        (lambda b: b + b"x", r"is longer than written"),
        (lambda b: b[:-1] + bytes([b[-1] ^ 1]), r"its SHA-256 differs"),
    ],
    ids=["truncated", "longer", "one bit"],
)
def test_a_damaged_file_is_named_with_the_command_that_restores_it(folder, change, message):
    import re

    damage(folder, BETAS, change)
    (finding,) = check_files(folder, read_damaged_manifest(folder), hashes=True)
    assert (finding.level, finding.where) == ("error", BETAS)
    assert re.search(message, finding.found)
    assert "mindeye2 prepare table --source lab" in finding.fix


def test_a_missing_file_is_named(folder):
    (folder / "trials.parquet").unlink()
    (finding,) = check_files(folder, read_damaged_manifest(folder), hashes=True)
    assert (finding.level, finding.where, finding.found) == (
        "error",
        "trials.parquet",
        "is missing",
    )


def test_without_hashes_only_sizes_are_compared(folder):
    damage(folder, BETAS, lambda b: b[:-1] + bytes([b[-1] ^ 1]))
    (finding,) = check_files(folder, read_damaged_manifest(folder), hashes=False)
    assert (finding.level, finding.found.endswith("sizes as written")) == ("ok", True)


def test_unlisted_files_are_a_note_but_not_state_or_hidden_ones(folder, wrong):
    (folder / "notes.txt").touch()
    (folder / ".hidden").touch()
    (folder / "state").mkdir()
    (folder / "state" / "step").touch()
    findings = check_files(folder, read_damaged_manifest(folder), hashes=False)
    assert wrong(findings) == []
    (note,) = [f for f in findings if f.level == "note"]
    assert note.found == "files that the manifest does not list: notes.txt"


def test_another_format_is_an_error(folder, wrong):
    manifest = {**read_damaged_manifest(folder), "schema": 99}
    findings = check_files(folder, manifest, hashes=False)
    assert wrong(findings) == [("error", "files", str(folder))]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("manifest.json", "{", "is damaged"),
        ("config.yaml", "a: 1", "was interrupted"),
        (
            "failure.json",
            '{"command": "evaluate", "error": "got 1.", "interrupted": false}',
            "'mindeye2 evaluate' failed there: got 1.",
        ),
        ("notes.txt", "", "no manifest.json here"),
    ],
)
def test_the_reason_for_a_missing_manifest_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    assert read_damaged_manifest(tmp_path) is None
    (finding,) = check_manifest(tmp_path)
    assert finding.level == "error"
    assert message in finding.found
    assert finding.fix


def test_an_interrupted_stage_is_to_be_resumed(tmp_path):
    entry = '{"command": "train", "error": "stopped", "interrupted": true}'
    (tmp_path / "failure.json").write_text(entry)
    (finding,) = check_manifest(tmp_path)
    assert finding.fix.endswith(f"--out {tmp_path} --resume")


def test_recorded_paths_are_those_of_the_working_directory(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab").mkdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["config"]["source"] = record_path("lab", folder=folder)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert manifest["config"]["source"] == "../lab"
    assert read_damaged_manifest(folder)["config"]["source"] == "lab"
