"""Every analysis by its command, on the demo of three subjects with few voxels."""

import json

import pytest
from typer.testing import CliRunner

from mindeye2.choices import ANALYSES
from mindeye2.cli import app
from mindeye2.demo import demo

FEW = {
    "brain-correlation": ["min_voxels=5", "n_resamples=100"],
    "rois": ["min_voxels=5", "n_random=1", "n_resamples=100"],
    "learning-curve": ["subject=subj03", "n_trials=[30, 50]"],
    "geometry": ["n_permutations=99"],
    "recovery": ["n_components=10"],
    "roi-images": ["min_voxels=5", "n_samples=1"],
}


@pytest.fixture(scope="module")
def finished(tiny_demo, tmp_path_factory):
    """Return the folder of a demo."""
    out = tmp_path_factory.mktemp("analyses") / "demo"
    demo(out, assignments=tiny_demo, device="cpu")
    return out


@pytest.mark.slow
@pytest.mark.parametrize("kind", ANALYSES)
def test_the_command_leaves_tables_a_figure_and_findings(kind, finished, tmp_path):
    name, init = "adapted-decoded", []
    if kind == "learning-curve":
        name, init = "data", ["--init", str(finished / "pretrained")]
    given = ["analyse", kind, "--source", str(finished / name), "--out", str(tmp_path / "out")]
    for assignment in FEW[kind]:
        given += ["--set", assignment]
    done = CliRunner().invoke(app, [*given, *init, "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert 3 <= len(done.stdout.splitlines()) <= 8
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert {p.rpartition(".")[2] for p in manifest["files"]} >= {"csv", "parquet", "svg"}
    assert manifest["subject"] == "subj03"
    assert not (tmp_path / "out" / "state").exists()
