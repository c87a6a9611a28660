import subprocess
import sys

import pytest
import typer

from mindeye2.cli.outcome import report_outcome
from mindeye2.core.artifacts import claim_folder, read_manifest
from mindeye2.core.errors import ArtifactError


def failing(error):
    @report_outcome
    def evaluate(*, out, resume=False):
        claim_folder(out, resume=resume)
        raise error

    return evaluate


def test_a_failed_stage_leaves_its_error_for_the_next(tmp_path):
    with pytest.raises(typer.Exit) as ended:
        failing(ArtifactError("two-way needs 2 images, got 1."))(out=tmp_path / "scores")
    assert ended.value.exit_code == 2
    wanted = r"scores is unfinished: 'mindeye2 evaluate' failed there: two-way needs 2 images, got"
    with pytest.raises(ArtifactError, match=wanted):
        read_manifest(tmp_path / "scores", stage="evaluate")


def test_an_interrupted_stage_is_to_be_resumed(tmp_path, capsys):
    with pytest.raises(typer.Exit) as ended:
        failing(KeyboardInterrupt())(out=tmp_path / "scores", resume=False)
    assert ended.value.exit_code == 3
    assert capsys.readouterr().err == (
        "mindeye2: interrupted. Go on with the same command and --resume.\n"
    )
    with pytest.raises(ArtifactError, match=r"was interrupted there\. Run it again .*--resume"):
        read_manifest(tmp_path / "scores", stage="evaluate")


def test_an_internal_error_is_kept_too_and_shows_its_traceback(tmp_path):
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError("ours"))(out=tmp_path / "scores")
    with pytest.raises(ArtifactError, match=r"failed there: ours"):
        read_manifest(tmp_path / "scores", stage="evaluate")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_sigterm_ends_a_command_as_ctrl_c_does():
    code = (
        "import os, signal\n"
        "from mindeye2.cli.outcome import report_outcome, stop_on_sigterm\n"
        "stop_on_sigterm()\n"
        "import typer\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "@report_outcome\n"
        "def evaluate() -> None:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "app()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (3, "mindeye2: interrupted.\n")
