import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

import mindeye2
from mindeye2.core.artifacts import (
    claim_folder,
    hash_file,
    keep_settings,
    read_manifest,
    record_path,
    resolve_path,
    write_json,
    write_manifest,
    write_text,
)
from mindeye2.core.errors import ArtifactError


@pytest.fixture
def sealed(tmp_path):
    """Return a folder that the stage ``prepare`` finished."""
    folder = tmp_path / "sealed"
    (folder / "betas").mkdir(parents=True)
    (folder / "betas" / "subj01.bin").write_bytes(b"betas")
    write_manifest(folder, stage="prepare", config={"seed": 3}, subjects=["subj01"])
    return folder


def test_a_manifest_records_stage_settings_and_hashes(sealed):
    manifest = read_manifest(sealed, stage="prepare")
    assert (manifest["stage"], manifest["config"]) == ("prepare", {"seed": 3})
    assert manifest["subjects"] == ["subj01"]
    digest = hashlib.sha256(b"betas").hexdigest()
    assert manifest["files"] == {"betas/subj01.bin": {"sha256": digest, "bytes": 5}}


def test_resume_state_hidden_files_and_the_old_manifest_are_not_sealed(sealed):
    for folder in (sealed / "state", sealed / "prior" / "state"):
        folder.mkdir(parents=True)
        (folder / "optimizer.bin").write_bytes(b"x")
    (sealed / ".images.npy.a1").write_bytes(b"x")
    write_manifest(sealed, stage="prepare", config={})
    assert list(read_manifest(sealed, stage="prepare")["files"]) == ["betas/subj01.bin"]


def test_a_manifest_names_the_version_that_wrote_it(sealed):
    assert read_manifest(sealed, stage="prepare")["mindeye2"] == mindeye2.__version__


def test_a_missing_folder_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(ArtifactError, match=r"nowhere is not a folder.*'mindeye2 prepare'"):
        read_manifest(tmp_path / "nowhere", stage="prepare")


def test_an_unfinished_folder_names_the_command_that_finishes_it(tmp_path):
    with pytest.raises(
        ArtifactError, match=r"did not finish there.*mindeye2 train --out .* --resume"
    ):
        read_manifest(tmp_path, stage="train")


def test_the_folder_of_another_stage_is_refused_with_both_names(sealed):
    with pytest.raises(ArtifactError, match=r"by 'mindeye2 prepare', but .* 'mindeye2 train'"):
        read_manifest(sealed, stage="train")


def test_another_format_is_refused_with_both_numbers(sealed):
    manifest = json.loads((sealed / "manifest.json").read_text())
    write_json(sealed / "manifest.json", manifest | {"schema": 99})
    with pytest.raises(ArtifactError, match=r"format 99, this version reads 1.*mindeye2 prepare"):
        read_manifest(sealed, stage="prepare")


def test_a_missing_file_is_named(sealed):
    (sealed / "betas" / "subj01.bin").unlink()
    with pytest.raises(ArtifactError, match=r"subj01\.bin is missing, but 5 bytes were written"):
        read_manifest(sealed, stage="prepare")


def test_a_truncated_file_is_named_with_both_sizes(sealed):
    (sealed / "betas" / "subj01.bin").write_bytes(b"bet")
    with pytest.raises(ArtifactError, match=r"subj01\.bin has 3 bytes, but 5 bytes .*damaged"):
        read_manifest(sealed, stage="prepare")


@pytest.mark.parametrize("text", ["", '{"schema": 1,', "[1]", '{"schema": 1, "stage": "prepare"}'])
def test_a_damaged_manifest_is_an_artifact_error(sealed, text):
    (sealed / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged.*'mindeye2 prepare'"):
        read_manifest(sealed, stage="prepare")


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = write_text(tmp_path / "a.txt", "old")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_what_is_written_can_be_read_by_others_on_the_machine(tmp_path):
    path = write_text(tmp_path / "a.txt", "x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_hash_file_agrees_with_hashing_the_bytes(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(content)
    assert hash_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_claim_folder_makes_what_is_missing(tmp_path):
    assert claim_folder(tmp_path / "a" / "b", resume=False).is_dir()


def test_claim_folder_refuses_to_write_over_a_result(sealed):
    with pytest.raises(ArtifactError, match=r"is not empty\. Add --resume .*another folder"):
        claim_folder(sealed, resume=False)


def test_claim_folder_resumes_if_asked(sealed):
    assert claim_folder(sealed, resume=True) == sealed
    assert (sealed / "betas" / "subj01.bin").exists()


def test_claim_folder_refuses_a_file(sealed):
    with pytest.raises(ArtifactError, match=r"is a file\. Give a folder"):
        claim_folder(sealed / "manifest.json", resume=True)


def test_a_folder_begun_with_other_settings_is_refused(tmp_path):
    keep_settings(tmp_path, {"seed": 0, "sizes": [1, 2]})
    (tmp_path / "images.npy").touch()
    keep_settings(tmp_path, {"seed": 0, "sizes": [1, 2]})
    with pytest.raises(
        ArtifactError, match=r"started with other settings: \['seed'\] differ.*--out"
    ):
        keep_settings(tmp_path, {"seed": 1, "sizes": [1, 2]})
    # Of a later version, with a setting that is off.
    keep_settings(tmp_path, {"seed": 0, "sizes": [1, 2], "more": None})


def test_settings_of_a_command_that_wrote_nothing_are_replaced(tmp_path):
    """As after a mistyped source: the next command may differ, with or without --resume."""
    for seed, resume in ((0, False), (1, False), (2, True)):
        keep_settings(claim_folder(tmp_path, resume=resume), {"seed": seed})
    assert "seed: 2" in (tmp_path / "config.yaml").read_text()


def test_a_folder_of_no_stage_is_not_resumed(tmp_path):
    (tmp_path / "trials.csv").write_text("image\n")
    with pytest.raises(ArtifactError, match=r"was not made by 'mindeye2 prepare'.* --out NEW"):
        read_manifest(tmp_path, stage="prepare")


def test_a_recorded_path_is_found_from_any_working_directory(tmp_path, monkeypatch):
    for name in ("runs/data", "runs/scores", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "runs")
    recorded = record_path("data", folder=Path("scores"))
    assert recorded == "../data"
    assert resolve_path(recorded, folder=Path("scores")) == Path("data")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert resolve_path(recorded, folder=Path("../runs/scores")) == tmp_path / "runs" / "data"


def test_a_recorded_path_is_found_after_both_folders_moved(tmp_path):
    for name in ("runs/data", "runs/scores"):
        (tmp_path / name).mkdir(parents=True)
    recorded = record_path(tmp_path / "runs/data", folder=tmp_path / "runs/scores")
    (tmp_path / "runs").rename(tmp_path / "archive")
    found = resolve_path(recorded, folder=tmp_path / "archive/scores")
    assert found == tmp_path / "archive" / "data"


def test_a_path_is_recorded_and_found_through_a_symbolic_link(tmp_path):
    for name in ("runs/data", "disk/far/scores"):
        (tmp_path / name).mkdir(parents=True)
    link = tmp_path / "runs" / "scores"
    link.symlink_to(tmp_path / "disk/far/scores")
    recorded = record_path(tmp_path / "runs/data", folder=link)
    assert resolve_path(recorded, folder=link) == tmp_path / "runs" / "data"


def test_a_path_recorded_by_an_earlier_version_is_found_in_the_working_directory(
    tmp_path, monkeypatch
):
    (tmp_path / "runs" / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve_path("runs/data", folder=tmp_path / "runs/scores") == Path("runs/data")


def test_a_recorded_path_that_is_missing_names_the_manifest_that_records_it(tmp_path, monkeypatch):
    (tmp_path / "other" / "data").mkdir(parents=True)
    (tmp_path / "other" / "here").mkdir()
    monkeypatch.chdir(tmp_path / "other" / "here")  # where ../data is another data set
    with pytest.raises(ArtifactError, match=r"data does not exist; \S*scores/manifest\.json rec"):
        resolve_path("../data", folder=tmp_path / "scores")


def test_a_name_that_is_no_path_is_recorded_as_it_is(tmp_path):
    assert record_path("final_subj01", folder=tmp_path) == "final_subj01"
