import json

import pytest
from typer.testing import CliRunner

import mindeye2
from mindeye2.cli import app
from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import ArtifactError, InterruptedRun, MissingExtraError
from mindeye2.recipes import PREPARATION, TRAINING

SUMMARY = "mindeye2.reporting.stage_summary.summarize_folder"


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_version_is_printed():
    done = run("--version")
    assert (done.exit_code, done.stdout) == (0, f"mindeye2 {mindeye2.__version__}\n")


def test_help_lists_the_choices_of_kinds_and_recipes():
    for command, names in (("prepare", PREPARATION), ("train", TRAINING)):
        shown = run(command, "--help").output
        assert [name for name in names if name not in shown] == []


@pytest.mark.parametrize(
    ("command", "typed", "offered"),
    [
        (["prepare"], "gl", {"glmsingle"}),
        (["train", "--recipe"], "un", {"unclip", "unclip_sdxl"}),
        (["settings"], "re", {"reconstruct", "report"}),
    ],
)
def test_the_shell_completes_kinds_recipes_and_stages(command, typed, offered):
    words = {"COMP_WORDS": " ".join(["mindeye2", *command, typed]), "COMP_CWORD": len(command) + 1}
    shell = {"_MINDEYE2_COMPLETE": "complete_bash", **{k: str(v) for k, v in words.items()}}
    done = CliRunner().invoke(app, [], prog_name="mindeye2", env=shell)
    assert set(done.stdout.split()) == offered


def test_recipes_are_listed_with_whom_they_are_for():
    shown = run("recipes").stdout
    assert "  ridge\n    Ridge regression" in shown
    assert "For one subject" in " ".join(shown.split())


def test_settings_are_listed_with_default_values_and_meaning():
    shown = run("settings", "prepare", "table").stdout
    fraction = "(number, at least 0, less than 1)\n    Fraction"
    assert f"table.splits.validation = 0.1    {fraction}" in shown


def test_settings_as_yaml_are_taken_by_the_command(tmp_path, monkeypatch):
    """One value is changed in the file; the others are the recipe's."""
    seen = {}

    def stage(settings, **_):
        seen["settings"] = settings
        return write_manifest(tmp_path, stage="train", config={})

    monkeypatch.setattr("mindeye2.stages.train.train", stage)
    monkeypatch.setattr(SUMMARY, lambda *_, **__: [])
    write_manifest(tmp_path, stage="prepare", config={}, subjects={"subj08": 7})
    text = run("settings", "train", "--recipe", "ridge", "--yaml").stdout
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("\nper_subject: 48\n", "\nper_subject: 8\n"))
    run("train", "--recipe", "ridge", "--source", tmp_path, "--out", tmp_path, "--config", file)
    assert seen["settings"] == TRAINING["ridge"]().model_copy(update={"per_subject": 8})


def test_help_names_every_stage():
    shown = run("--help").output
    stages = ("demo", "doctor", "prepare", "train", "reconstruct", "evaluate", "report", "compare")
    for verb in (*stages, "recipes", "settings", "import", "export"):
        assert verb in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "nsd_", "--out", "new"], r"KIND must be one of"),
        (["train", "--recipe", "dmo", "--source", "x", "--out", "y"], r"Did you mean 'demo'?"),
        (["prepare", "simulated", "--out", "new", "--set", "sed=1"], r"Did you mean 'seed'?"),
        (["prepare", "simulated", "--out", "new", "--set", "seed"], r"key.path=value"),
        (["prepare", "simulated", "--out", "new", "--config", "no.yaml"], r"does not exist"),
        (["train", "--source", "x", "--out", "new"], r"--recipe is missing: give one of"),
        (["reconstruct", "--source", "x", "--out", "new"], r"--init is missing: give the run"),
        (["settings", "train"], r"'train' has settings for each --recipe: one of"),
        (["settings", "analyse"], r"'analyse' has settings for each KIND: give one of"),
        (["analyse", "roi", "--source", "x", "--out", "new"], r"KIND must be one of"),
        (["settings", "prepare"], r"'prepare' has settings for each KIND: give one of"),
        (["settings", "evaluate", "table"], r"'prepare' and 'analyse' have kinds, got"),
        (["settings", "report", "--recipe", "a"], r"have recipes, got 'a' for 'report'"),
        (["settings", "reports"], r"Did you mean 'report'?"),
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
        (InterruptedRun("stopped after step 3; go on with --resume."), 3),
        (MissingExtraError("needs the package 'timm'"), 2),
        (FloatingPointError("the loss is nan at step 3"), 2),
        (OSError(28, "No space left on device"), 2),
        (KeyboardInterrupt(), 3),
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
    monkeypatch.setattr(SUMMARY, lambda folder, **_: [f"{folder}: finished", "Next: mindeye2"])
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
    assert done.stdout == f"{tmp_path}: finished\nNext: mindeye2\n"


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
