import pytest

from mindeye2.core.artifacts import claim_folder, keep_settings, write_manifest
from mindeye2.core.failures import FAILURE, describe_failure, recorded_failure


def fail(folder, *, resume=False):
    @recorded_failure(folder, command="train", resume=resume)
    def train():
        folder.mkdir(exist_ok=True)
        raise ValueError("wrong\n  input.")

    with pytest.raises(ValueError, match="wrong"):
        train()


def test_the_error_is_kept_on_one_line_until_the_folder_is_begun_again(tmp_path):
    fail(tmp_path / "run")
    assert describe_failure(tmp_path / "run") == (
        "'mindeye2 train' failed there: wrong input. Correct that and run it again."
    )
    claim_folder(tmp_path / "run", resume=False)
    assert describe_failure(tmp_path / "run") is None


def test_a_command_that_failed_at_once_may_be_repeated_with_other_settings(tmp_path):
    keep_settings(tmp_path, {"steps": 1})
    fail(tmp_path)
    keep_settings(claim_folder(tmp_path, resume=False), {"steps": 2})


@pytest.mark.parametrize("resume", [True, False])
def test_nothing_is_written_into_a_folder_of_somebody_else(tmp_path, resume):
    (tmp_path / "thesis.tex").touch()
    fail(tmp_path, resume=resume)
    assert not (tmp_path / FAILURE).exists()


def test_nothing_is_written_into_a_finished_folder(tmp_path):
    keep_settings(tmp_path, {})
    write_manifest(tmp_path, stage="train", config={})
    fail(tmp_path, resume=True)
    assert not (tmp_path / FAILURE).exists()


def test_a_failure_is_no_result(tmp_path):
    fail(tmp_path)
    write_manifest(tmp_path, stage="train", config={})
    assert FAILURE not in (tmp_path / "manifest.json").read_text()


def test_of_several_processes_one_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    fail(tmp_path)
    assert not (tmp_path / FAILURE).exists()


def test_a_damaged_record_is_as_none(tmp_path):
    (tmp_path / FAILURE).write_text("[]")
    assert describe_failure(tmp_path) is None
