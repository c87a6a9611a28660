import json
import re

import pytest
from typer.testing import CliRunner

import mindeye2
from mindeye2 import cli
from mindeye2.cli import app
from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import ArtifactError, InterruptedRun, MissingExtraError
from mindeye2.recipes import PREPARATION, TRAINING


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_version_is_printed():
    done = run("--version")
    assert (done.exit_code, done.stdout) == (0, f"mindeye2 {mindeye2.__version__}\n")


def test_help_lists_the_choices_of_kinds_and_recipes():
    """They are written out in `cli`, because importing the recipes would import PyTorch."""
    assert set(re.findall(r"\w+", cli.KINDS)) == set(PREPARATION)
    assert set(re.findall(r"\w+", cli.RECIPES)) == {*TRAINING, "brain", "image", "decoders"}
    for command, name in (("prepare", "kriegeskorte92"), ("train", "unclip_sdxl")):
        assert name in run(command, "--help").output


def test_help_names_every_stage():
    shown = run("--help").output
    stages = ("demo", "doctor", "prepare", "train", "reconstruct", "evaluate", "report")
    for verb in (*stages, "import", "export"):
        assert verb in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "nsd_", "--out", "new"], r"KIND must be one of"),
        (["train", "--recipe", "dmo", "--source", "x", "--out", "y"], r"Did you mean 'demo'?"),
        (["prepare", "simulated", "--out", "new", "--set", "sed=1"], r"Did you mean 'seed'?"),
        (["prepare", "simulated", "--out", "new", "--set", "seed"], r"key.path=value"),
        (["prepare", "simulated", "--out", "new", "--config", "no.yaml"], r"does not exist"),
        (["evaluate", "--source", "nowhere", "--out", "new"], r"nowhere is not a folder"),
        (["demo", "--out", "full"], r"--out full is not empty. Add --resume"),
    ],
)
def test_a_user_error_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("mindeye2: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (tmp_path / "new").exists()


def test_debug_shows_where_it_happened(tmp_path):
    done = run("evaluate", "--source", tmp_path, "--out", tmp_path / "new", "--debug")
    assert isinstance(done.exception, ArtifactError)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InterruptedRun("stopped after step 3; go on with --resume."), 130),
        (MissingExtraError("needs the package 'timm'"), 2),
        (FloatingPointError("the loss is nan at step 3"), 2),
        (OSError(28, "No space left on device"), 2),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda e: type(e).__name__,
)
def test_every_error_that_a_run_raises_on_purpose_has_its_exit_code(error, code, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("mindeye2.stages.evaluate.evaluate", fail)
    done = run("evaluate", "--source", "a", "--out", "b")
    assert done.exit_code == code
    assert str(error) in done.stderr


def test_an_internal_error_is_not_caught(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("ours")

    monkeypatch.setattr("mindeye2.stages.evaluate.evaluate", fail)
    assert isinstance(run("evaluate", "--source", "a", "--out", "b").exception, AssertionError)


def test_options_reach_the_stage_as_settings(tmp_path, monkeypatch):
    seen = {}

    def stage(settings, **given):
        seen.update(given, settings=settings)
        return write_manifest(tmp_path, stage="evaluate", config={})

    monkeypatch.setattr("mindeye2.stages.evaluate.evaluate", stage)
    config = tmp_path / "a.yaml"
    config.write_text("extractor_size: 96\nn_resamples: 500\n")
    done = run(
        *("evaluate", "--source", "a", "--out", "b", "--data", "c", "--resume"),
        *("--config", config, "--set", "n_resamples=200"),
    )
    assert done.exit_code == 0, done.output
    assert (seen["settings"].extractor_size, seen["settings"].n_resamples) == (96, 200)
    assert (str(seen["source"]), str(seen["out"]), seen["resume"]) == ("a", "b", True)
    assert str(seen["data"]) == "c"
    assert done.stdout.strip() == str(tmp_path / "manifest.json")


@pytest.mark.parametrize(("levels", "code"), [(["ok", "note"], 0), (["ok", "warning"], 1)])
@pytest.mark.parametrize("option", [[], ["--json", "--quick"]])
def test_the_doctor_s_exit_code_says_whether_anything_is_wrong(
    levels, code, option, tmp_path, monkeypatch
):
    from mindeye2.doctor import Diagnosis, Finding

    def look(path, *, hashes):
        assert (path, hashes) == (tmp_path, not option)
        found = [Finding(level=level, check="a", where="b", found="c") for level in levels]
        return Diagnosis(findings=found, seconds=1.0, peak_memory_gib=1.0)

    monkeypatch.setattr("mindeye2.doctor.doctor", look)
    done = run("doctor", tmp_path, *option)
    assert done.exit_code == code, done.output
    if option:
        assert json.loads(done.stdout)["wrong"] is bool(code)
    else:
        assert f"{code} warning" in done.stdout


def test_the_doctor_needs_a_folder(tmp_path):
    done = run("doctor", tmp_path / "nowhere")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "nowhere is not a folder" in done.stderr
