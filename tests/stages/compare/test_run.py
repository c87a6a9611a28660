"""Comparison of runs through the command."""

import csv
import json

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from mindeye2.cli import app
from mindeye2.core.artifacts import read_manifest
from mindeye2.metrics import paired_difference


def run(*arguments):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture
def better(other):
    """Return scores that are better by .3 in PixCorr of the unCLIP image."""
    return other("better", lambda t: t.assign(pixcorr_unclip=t["pixcorr_unclip"] + 0.3))


def test_runs_are_compared_metric_by_metric(scores, better, tmp_path):
    done = run(scores, better, "--out", tmp_path / "out", "--set", "n_resamples=500")
    assert done.exit_code == 0, done.output
    records = json.loads((tmp_path / "out" / "differences.json").read_text())
    rows = {row["metric"]: row for row in records}
    summary = json.loads((scores / "summary.json").read_text())
    # Floors and the reliability of the responses are the same in every run.
    assert set(rows) == {
        r["name"]
        for r in summary
        if not r["name"].endswith("_floor") and not r["name"].startswith("repeat_")
    }
    found = rows["pixcorr_unclip"]
    tables = [pd.read_parquet(f / "scores.parquet")["pixcorr_unclip"] for f in (better, scores)]
    want = paired_difference(
        *(torch.tensor(t.to_numpy()) for t in tables),
        generator=torch.Generator().manual_seed(0),
        n_resamples=500,
    )
    assert found["mean"] == pytest.approx(0.3, abs=1e-5)
    assert found["p"] == pytest.approx(want.p, abs=0.01)
    assert found["p_holm"] == pytest.approx(min(1, found["p"] * len(rows)))
    assert (found["run"], found["reference"]) == ("better", "scores")
    assert rows["ssim_unclip"]["verdict"] == "equivalent"


def test_tables_and_a_page_are_written(scores, better, tmp_path):
    done = run(scores, better, "--out", tmp_path / "out", "--set", "names=[base, new]")
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "table.md").read_text()
    assert "PixCorr, unCLIP image: new minus base" in text
    assert (tmp_path / "out" / "table.tex").read_text().isascii()
    runs = list(csv.DictReader((tmp_path / "out" / "table.csv").read_text().splitlines()))
    assert {"base", "new"} < set(runs[0])
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Differences from base" in page
    assert 'class="badge simulated"' in page
    assert read_manifest(tmp_path / "out", stage="compare")["config"]["sources"]


def test_three_runs_are_corrected_together(scores, better, other, tmp_path):
    third = other("third")
    done = run(
        *(scores, better, third, "--out", tmp_path / "out", "--set", "n_resamples=200"),
        *("--set", "metrics=[pixcorr_unclip]"),
    )
    assert done.exit_code == 0, done.output
    first, second = json.loads((tmp_path / "out" / "differences.json").read_text())
    assert [first["run"], second["run"]] == ["better", "third"]
    assert first["p_holm"] == pytest.approx(2 * first["p"])
    assert second["p_holm"] == 1


@pytest.mark.parametrize(
    ("change", "facts", "message"),
    [
        (lambda t: t[t["image"] != 75], {}, "1 are in one only, e.g. image 75"),
        (None, {"config": {"protocol": "v1"}}, "by the protocol 'laptop' and"),
        (None, {"images_sha256": "f" * 64}, "data sets with other images"),
        (None, {"config": {"extractor_size": 240}}, "feature extractors of two sizes"),
    ],
)
def test_scores_that_do_not_compare_are_refused_in_words(
    scores, other, tmp_path, *, change, facts, message
):
    done = run(scores, other("other", change, **facts), "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_runs_on_two_splits_of_one_data_set_are_refused_with_both_named(other, tmp_path):
    tau = other("tau", image_split="tau (pool subject)")
    clusters = other("clusters", image_split="cluster_k5_0 (pool subject)")
    done = run(tau, clusters, "--out", tmp_path / "out")
    assert done.exit_code == 2
    for named in ("splits of images", "tau (pool subject)", "cluster_k5_0 (pool subject)"):
        assert named in done.stderr
    assert not (tmp_path / "out").exists()


def test_names_runs_and_metrics_must_fit(scores, better, tmp_path):
    for arguments, message in (
        ([scores], "at least two runs, got 1"),
        ([scores, better, "--set", "names=[a, a]"], "needs a name of its own, got ['a', 'a']"),
        ([scores, better, "--set", "metrics=[fid]"], "not all runs have scores of ['fid']"),
        ([scores, tmp_path], "manifest.json"),
    ):
        done = run(*arguments, "--out", tmp_path / "out")
        assert (done.exit_code, message in done.stderr) == (2, True), done.stderr


def test_runs_of_different_subjects_are_listed_with_their_mean(scores, other, tmp_path):
    folders = [
        other(f"subj0{n}", lambda t, n=n: t.assign(image=t["image"] + n), subject=f"subj0{n}")
        for n in (4, 5)
    ]
    done = run(scores, *folders, "--out", tmp_path / "out", "--set", "n_resamples=200")
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader((tmp_path / "out" / "table.csv").read_text().splitlines()))
    assert {"subj03", "subj04", "subj05", "mean", "low", "high"} <= set(rows[0])
    for row in rows:
        values = [float(row[s]) for s in ("subj03", "subj04", "subj05")]
        assert float(row["mean"]) == pytest.approx(sum(values) / 3)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "3 subjects, subj03, subj04, subj05" in page
    assert "BCa bootstrap over 3 subjects and their images" in page
    assert not (tmp_path / "out" / "differences.json").exists()
