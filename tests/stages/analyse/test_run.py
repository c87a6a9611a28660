"""The folder of an analysis: manifest, tables, resume, messages."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from mindeye2.analysis_steps import STEPS
from mindeye2.cli import app
from mindeye2.core.errors import ArtifactError
from mindeye2.stages.analyse import analyse
from mindeye2.stages.analyse.analysis import Analysis
from mindeye2.stages.analyse.brain_correlation import BrainCorrelationSettings
from mindeye2.stages.analyse.run import ANALYSES, Kind


@pytest.fixture
def counted(monkeypatch):
    """Replace the analysis by a table of one row, and count its calls."""
    calls = []

    def compute(settings, job):
        calls.append((settings, job.decoding.subject))
        return Analysis(
            title="One row",
            subject="subj03",
            lines=["a is 1"],
            tables={"rows": pd.DataFrame({"a": [1]})},
            figure="<svg/>",
        )

    monkeypatch.setitem(ANALYSES, "brain-correlation", Kind(BrainCorrelationSettings, compute))
    return calls


def run(source, out, **given):
    settings = BrainCorrelationSettings(seed=given.pop("seed", 0))
    return analyse(
        settings, kind="brain-correlation", source=source, out=out, steps=STEPS, **given
    )


@pytest.mark.usefixtures("counted")
def test_tables_figure_and_lines_are_written(decoded, tmp_path):
    path = run(decoded, tmp_path / "out")
    manifest = json.loads(path.read_text())
    assert {"rows.parquet", "rows.csv", "figure.svg", "config.yaml"} == set(manifest["files"])
    assert (manifest["stage"], manifest["kind"], manifest["lines"]) == (
        "analyse",
        "brain-correlation",
        ["a is 1"],
    )
    assert pd.read_parquet(tmp_path / "out" / "rows.parquet")["a"].tolist() == [1]


def test_a_finished_analysis_is_not_computed_again(counted, decoded, tmp_path):
    run(decoded, tmp_path / "out")
    run(decoded, tmp_path / "out", resume=True)
    assert len(counted) == 1
    with pytest.raises(ArtifactError, match=r"\['seed'\] differ"):
        run(decoded, tmp_path / "out", resume=True, seed=1)
    with pytest.raises(ArtifactError, match=r"is not empty\. Add --resume"):
        run(decoded, tmp_path / "out")


def test_a_folder_of_another_stage_is_refused_before_anything_is_made(data, tmp_path):
    with pytest.raises(ArtifactError, match=r"made by 'mindeye2 prepare'.*reconstruct"):
        run(data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_inputs_of_other_kinds_are_refused(data, decoded, tmp_path):
    with pytest.raises(ValueError, match=r"'brain-correlation' reads the run that made --source"):
        run(decoded, tmp_path / "out", init=tmp_path)
    settings = ANALYSES["learning-curve"].settings()
    with pytest.raises(ValueError, match="is the prepared data set itself"):
        analyse(
            settings,
            kind="learning-curve",
            source=data,
            out=tmp_path / "out",
            steps=STEPS,
            data=data,
        )


def test_the_command_prints_the_findings(counted, decoded, tmp_path):
    out = tmp_path / "out"
    given = ["analyse", "brain-correlation", "--source", str(decoded), "--out", str(out)]
    done = CliRunner().invoke(app, [*given, "--set", "seed=4"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        f"{out}: One row, subj03",
        "  a is 1",
        f"Figure: {out / 'figure.svg'}; tables: rows.csv",
    ]
    assert counted[0][0].seed == 4


def test_an_error_stays_in_the_folder(decoded, tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("no region.")

    monkeypatch.setitem(ANALYSES, "brain-correlation", Kind(BrainCorrelationSettings, fail))
    out = tmp_path / "out"
    given = ["analyse", "brain-correlation", "--source", str(decoded), "--out", str(out)]
    assert CliRunner().invoke(app, given).exit_code == 2
    assert json.loads((out / "failure.json").read_text())["error"] == "no region."
