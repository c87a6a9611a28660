"""Which of some known images was seen: four commands from betas to the page, no workaround."""

import json
import os
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from mindeye2.cli import app
from mindeye2.core.artifacts import read_manifest
from mindeye2.doctor import doctor

ROOT = Path(__file__).parents[2]


def figure(number, *, side=200):
    """Return a black and white figure of 10 x 10 squares."""
    squares = np.random.default_rng(number).integers(0, 2, (10, 10), dtype=np.uint8)
    return np.kron(255 * squares, np.ones((side // 10, side // 10), np.uint8))


def save_figures(folder, names):
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        Image.fromarray(figure(number)).convert("RGB").save(folder / f"{name}.png")


def run(*arguments):
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def four_commands(source, out, kind, *more):
    """Return what is printed by prepare, train, evaluate and report."""
    design = ("--set", f"{kind}.design=known_images")
    return [
        run("prepare", kind, "--source", source, "--out", out / "data", *design, *more),
        run("train", "--recipe", "ridge", "--source", out / "data", "--out", out / "run"),
        run("evaluate", "--source", out / "run", "--out", out / "scores"),
        run("report", "--source", out / "scores", "--out", out / "report"),
    ]


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Return a folder of 80 trials of ten figures, seen by voxels that pool nearby squares."""
    folder, rng = tmp_path_factory.mktemp("figures"), np.random.default_rng(0)
    save_figures(folder / "images", [f"figure{i}" for i in range(10)])
    squares = np.stack([figure(i, side=10) for i in range(10)]).reshape(10, 100) / 255
    place = np.stack(np.mgrid[:10, :10], axis=-1).reshape(100, 1, 2)
    centre, width = rng.uniform(0, 10, (200, 2)), rng.uniform(0.7, 2, 200)
    field = np.exp(-((place - centre) ** 2).sum(axis=2) / (2 * width**2))
    response = squares @ field
    response = (response - response.mean(axis=0)) / response.std(axis=0)
    shown = np.concatenate([rng.permutation(10) for _ in range(8)])
    table = {"image": [f"figure{i}" for i in shown], "run": np.repeat(np.arange(1, 9), 10)}
    pd.DataFrame(table).to_csv(folder / "trials.csv", index=False)
    np.save(folder / "betas.npy", 0.35 * response[shown] + rng.normal(size=(80, 200)))
    return folder


@pytest.mark.slow
def test_figures_of_ten_are_identified_by_four_commands(figures, tmp_path):
    prepared, _, evaluated, _ = four_commands(figures, tmp_path, "table")
    assert "design: known images" in prepared
    assert "Known image identified, single trials" in evaluated
    rows = json.loads((tmp_path / "scores" / "summary.json").read_text())
    single = next(row for row in rows if row["name"] == "known_image_single")
    assert single["chance"] == 0.1
    assert single["low"] > 0.3
    for stage, folder in (("prepare", "data"), ("train", "run"), ("evaluate", "scores")):
        assert read_manifest(tmp_path / folder, stage=stage)["design"] == "known_images"
    page = (tmp_path / "report" / "index.html").read_text()
    assert "none of which was shown" not in page
    assert "the question is which of them was seen" in page
    findings = [f for f in doctor(tmp_path).findings if f.check != "environment"]
    assert [f for f in findings if f.is_wrong] == []
    assert "the 10 test images are training images too" in " ".join(f.found for f in findings)


@pytest.mark.slow
def test_real_volumes_of_eight_categories_are_identified(tmp_path):
    """Haxby et al. 2001, 12 runs: chance .125; the published path is that of any BIDS folder."""
    pytest.importorskip("nilearn", reason="nilearn is not installed: pip install 'mindeye2[bids]'")
    shared = Path(os.environ.get("MINDEYE2_SHARED", ROOT.parent / "shared"))
    source = shared / "data" / "haxby2001_slice"
    if not source.exists():
        pytest.skip(f"the volumes are not at {source}: set MINDEYE2_SHARED to the folder above it")
    folder = runpy.run_path(str(ROOT / "benchmarks" / "haxby.py"))["write_bids"](
        source, tmp_path / "bids"
    )
    events = pd.concat(pd.read_csv(p, sep="\t") for p in folder.rglob("*_events.tsv"))
    save_figures(folder / "stimuli", sorted(events["stim_file"].unique()))
    four_commands(folder, tmp_path, "bids", "--set", "bids.confounds=[]")
    rows = json.loads((tmp_path / "scores" / "summary.json").read_text())
    single = next(row for row in rows if row["name"] == "known_image_single")
    assert single["chance"] == 0.125
    assert single["value"] >= 0.5
