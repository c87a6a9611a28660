from pathlib import Path

import pytest

from mindeye2.doctor.finding import LEVELS, Finding, first_few, rerun_command, restore_command

PREPARED = {"stage": "prepare", "config": {"kind": "nsd", "source": "/data/my nsd"}}


@pytest.mark.parametrize("level", LEVELS)
def test_errors_and_warnings_are_wrong_notes_are_not(level):
    finding = Finding(level, "files", where="here", found="something")
    assert finding.is_wrong is (level in ("error", "warning"))


def test_a_long_list_is_cut_and_counted():
    assert first_few([3, 5]) == "3, 5"
    assert first_few(range(12), 3) == "0, 1, 2, ... (12 in all)"


def test_the_command_of_a_stage_is_built_from_its_manifest():
    assert rerun_command(PREPARED) == "mindeye2 prepare nsd --source '/data/my nsd' --out NEW"
    config = {"recipe": "adapt", "init": "runs/a"}
    assert rerun_command({"stage": "train", "config": config}, out="runs/b") == (
        "mindeye2 train --recipe adapt --source DATA --init runs/a --out runs/b"
    )
    assert rerun_command({"stage": "evaluate", "config": {"source": "decoded"}}) == (
        "mindeye2 evaluate --source decoded --out NEW"
    )


def test_restoring_a_subject_s_file_deletes_its_done_mark():
    command = restore_command(PREPARED, Path("d"), "betas/subj02.npy")
    assert command.startswith("rm -rf d/betas/subj02.npy d/state/subj02; mindeye2 prepare nsd")
    assert command.endswith("--out d --resume")


def test_target_banks_and_runs_are_restored_as_a_whole():
    assert restore_command(PREPARED, Path("d"), "targets/lite0/values.npy").startswith(
        "rm -rf d/targets/lite0; "
    )
    run = {"stage": "train", "config": {"recipe": "demo"}}
    assert restore_command(run, Path("r"), "model.yaml") == (
        "rm -r r; mindeye2 train --recipe demo --source DATA --out r"
    )
