"""The examples of docs/data.md, run as they stand there."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mindeye2.cli import app
from mindeye2.data.prepared import open_prepared

DOCUMENT = Path(__file__).parents[2] / "docs" / "data.md"


@pytest.fixture(scope="module")
def example():
    """Return Python and command of the section on plain arrays."""
    section = DOCUMENT.read_text().partition("### Plain arrays")[2].partition("\n##")[0]
    blocks = dict(re.findall(r"```(python|bash)\n(.*?)```", section, re.DOTALL))
    return blocks["python"], shlex.split(blocks["bash"])


def test_the_example_of_plain_arrays_runs_as_it_stands(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, (program, *arguments) = example
    exec(compile(code, "docs/data.md", "exec"), {})
    assert program == "mindeye2"
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    data = open_prepared(tmp_path / "runs/mine/data")
    assert (data.subjects, data.n_voxels) == (["subj01"], {"subj01": 300})
    assert data.images.shape == (20, 224, 224, 3)
    assert data.trials["split"].value_counts().to_dict() == {
        "train": 32,
        "test": 4,
        "validation": 4,
    }
    assert "ncsnr_train" in data.voxels("subj01")
    assert data.targets("lite0").shape[0] == 20
