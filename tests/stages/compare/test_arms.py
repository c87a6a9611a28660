"""Grids of runs through the command."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from mindeye2.cli import app


def run(*arguments):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture
def laptop_grid(cell):
    """Return scores of two recipes, at two amounts of data, of three subjects and two seeds."""
    return [
        cell(recipe, subject=f"subj0{n}", seed=seed, n_trials=n_trials, gain=gain)
        for recipe, gains in (("ridge", (0.0, 0.0)), ("adapt", (0.1, 0.3)))
        for n_trials, gain in zip((40, 80), gains, strict=True)
        for n in (1, 2, 3)
        for seed in ((0, 1) if recipe == "adapt" else (0,))
    ]


def test_a_grid_is_compared_at_equal_amounts_over_subjects_and_seeds(laptop_grid, tmp_path):
    out = tmp_path / "out"
    metrics = "metrics=[pixcorr_unclip, ssim_unclip]"
    done = run(*laptop_grid, "--out", out, "--set", metrics, "--set", "n_resamples=500")
    assert done.exit_code == 0, done.output
    records = json.loads((out / "differences.json").read_text())
    found = {(r["run"], r["metric"]): r for r in records}
    for label, gain in (("adapt, 40 trials", 0.1), ("adapt, 80 trials", 0.3)):
        better = found[label, "pixcorr_unclip"]
        assert better["mean"] == pytest.approx(gain, abs=1e-5)
        assert better["reference"] == label.replace("adapt", "ridge")
        assert (better["verdict"], better["p_holm"]) == ("better", 0)
        assert found[label, "ssim_unclip"]["verdict"] == "equivalent"
    assert len(found) == 4
    frame = pd.read_csv(out / "runs.csv")
    assert len(frame) == len(laptop_grid)
    assert set(frame["trials"]) == {38, 78}
    page = (out / "index.html").read_text()
    assert page.count('class="band s') == 4  # two curves in each of two panels
    assert "Scores over the amount of data" in page
    assert "3 subjects (subj01, subj02, subj03) and 2 seeds" in page


def test_the_reference_and_the_names_of_arms_can_be_chosen(cell, tmp_path):
    folders = [
        cell("adapt", subject=f"subj0{n}", seed=0, n_trials=None, gain=gain, level=level)
        for level, gain in (("ridge", 0.0), ("full", 0.2))
        for n in (1, 2, 3)
    ]
    options = ("--set", "metrics=[pixcorr_unclip]", "--set", "n_resamples=200")
    done = run(*folders, "--out", tmp_path / "a", *options)
    assert done.exit_code == 0, done.output
    [record] = json.loads((tmp_path / "a" / "differences.json").read_text())
    assert (record["run"], record["reference"]) == ("adapt, levels=full", "adapt, levels=ridge")
    names = "names=[low, low, low, high, high, high]"
    done = run(
        *folders, "--out", tmp_path / "b", *options, "--set", names, "--set", "reference=high"
    )
    [named] = json.loads((tmp_path / "b" / "differences.json").read_text())
    assert (named["run"], named["reference"]) == ("low", "high")
    assert named["mean"] == pytest.approx(-record["mean"])


def test_runs_of_one_cell_are_refused_and_those_of_other_seeds_left_out(cell, tmp_path):
    facts = {"n_trials": 40, "gain": 0.0}
    folders = [cell("adapt", subject=f"subj0{n}", seed=0, **facts) for n in (1, 2, 3)]
    extra = cell("adapt", subject="subj01", seed=1, **facts)
    done = run(*folders, extra, "--out", tmp_path / "a", "--set", "n_resamples=100")
    assert done.exit_code == 0, done.output
    assert f"has the seed: {extra}" in (tmp_path / "a" / "table.md").read_text()
    done = run(*folders, extra, "--out", tmp_path / "b", "--set", "names=[a, a, a, b]")
    assert done.exit_code == 0, done.output
    done = run(folders[0], folders[0], "--out", tmp_path / "c", "--set", "names=[a, a]")
    assert "unless it is of another subject, seed or amount" in done.stderr


def test_rows_of_the_paper_stand_beside_the_means_of_arms(cell, tmp_path):
    folders = [
        cell(
            "adapt",
            subject=subject,
            seed=0,
            n_trials=None,
            gain=0.0,
            protocol="mindeye2-2024",
            n_images=1000,
        )
        for subject in ("subj01", "subj02", "subj05")
    ]
    done = run(*folders, "--out", tmp_path / "out", "--set", "n_resamples=100")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "table.md").read_text()
    mean, of_subject = (
        text.partition(f"Images and retrieval: mindeye2-2024, {who}, 1000 images")[2].split("##")[
            0
        ]
        for who in ("mean of subj01, subj02, subj05", "subj02")
    )
    assert "MindEye2, 1 session, mean of subj01, 02, 05, 07" in mean
    assert "MindEye2, 1 session, subj02" not in mean
    assert "MindEye2, 1 session, subj02" in of_subject
    assert "**adapt, unCLIP image**" in of_subject
