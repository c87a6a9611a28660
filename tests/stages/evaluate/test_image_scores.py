"""Image scores of a published protocol through the command, and what it leaves out."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

from mindeye2.cli import app
from mindeye2.core.artifacts import read_manifest
from mindeye2.encoders.feature_extractors import FEATURE_EXTRACTORS
from mindeye2.metrics import pixcorr, two_way_identification
from mindeye2.stages.evaluate import EvaluateSettings, evaluate

GOLDEN = Path(__file__).parents[2] / "golden"


def run(*arguments):
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert done.exit_code == 0, done.output


@pytest.fixture
def eight(forge):
    """Return the eight pairs of the golden numbers as reconstructions."""
    shared = GOLDEN.parents[2] / "shared" / "golden"
    for folder in (Path(os.environ.get("MINDEYE2_GOLDEN", GOLDEN)), shared):
        if (folder / "metrics.npz").exists():
            with np.load(folder / "metrics.npz") as case:
                if "images" in case:
                    seen, recons = (case[k].transpose(0, 2, 3, 1) for k in ("images", "recons"))
                    return forge(seen, {"blended": recons})
    return pytest.skip(f"needs the full metrics.npz in {shared}, or in MINDEYE2_GOLDEN")


@pytest.mark.slow
def test_the_command_gives_the_golden_numbers(eight, torchvision_files, summary, tmp_path):
    """Those of the published notebook, with the same filled networks."""
    run(
        *("--source", eight, "--out", tmp_path / "scores", "--device", "cpu"),
        *("--set", "protocol=mindeye2-2024", "--set", f"networks={torchvision_files}"),
        *("--set", "n_resamples=200"),
    )
    rows = summary(tmp_path / "scores")
    want = json.loads((GOLDEN / "metrics.json").read_text())
    for name in ("pixcorr", "ssim", "alexnet2", "alexnet5", "inception", "effnet", "swav"):
        # Distances are 1 - r in float32, which leaves seven decimals.
        close = pytest.approx(want[name], rel=1e-4, abs=2e-7)
        assert rows[f"{name}_blended"]["value"] == close, name


@pytest.mark.usefixtures("pooling")
def test_every_image_column_of_the_papers_tables_is_scored(six, files, summary, tmp_path):
    settings = EvaluateSettings(protocol="mindeye2-2024", networks=files, n_resamples=100)
    evaluate(settings, source=six, out=tmp_path / "scores", device="cpu")
    rows = summary(tmp_path / "scores")
    columns = ("pixcorr", "ssim", "alexnet2", "alexnet5", "inception", "clip", "effnet", "swav")
    for kind in ("unclip", "refined", "blended", "lowlevel"):
        assert {f"{column}_{kind}" for column in columns} <= set(rows)
    for column in columns:
        best = 0 if column in ("effnet", "swav") else 1
        assert rows[f"{column}_unclip"]["value"] == pytest.approx(best, abs=1e-5), column
        assert rows[f"{column}_blended"]["higher_is_better"] == (best == 1)


@pytest.mark.usefixtures("pooling")
def test_images_are_compared_at_256_pixels(six, files, tmp_path):
    """Antialiasing and ties are what sets v1 apart."""
    settings = EvaluateSettings(protocol="v1", networks=files, n_resamples=100, batch_size=4)
    evaluate(settings, source=six, out=tmp_path / "scores", device="cpu")
    table = pd.read_parquet(tmp_path / "scores" / "scores.parquet")
    images = [np.load(six / f"{n}.npy") for n in ("unclip", "lowlevel")]
    seen, lowlevel = (
        F.interpolate(torch.from_numpy(x).permute(0, 3, 1, 2) / 255, (256, 256), mode="bilinear")
        for x in images
    )
    np.testing.assert_allclose(table["pixcorr_lowlevel"], pixcorr(lowlevel, seen), atol=1e-5)
    features = [F.adaptive_avg_pool2d(x, 2) for x in (lowlevel, seen)]
    mean, std = (torch.tensor(x)[:, None, None] for x in FEATURE_EXTRACTORS["swav"].normalisation)
    preds, targets = (((x - mean) / std).flatten(1) for x in features)
    np.testing.assert_allclose(
        table["inception_lowlevel"], two_way_identification(preds, targets), atol=1e-5
    )


def test_networks_that_are_missing_are_left_out_and_named(six, summary, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    run(
        *("--source", six, "--out", tmp_path / "scores", "--set", "protocol=mindeye2-2024"),
        *("--set", "n_resamples=100"),
    )
    rows = summary(tmp_path / "scores")
    assert "pixcorr_blended" in rows
    assert not [name for name in rows if name.startswith(("alexnet", "clip_", "swav"))]
    missing = read_manifest(tmp_path / "scores", stage="evaluate")["missing"]
    alexnet = next(m for m in missing if m.startswith("alexnet2"))
    assert "about 233 MB" in alexnet
    assert "BSD-3-Clause" in alexnet
    assert "--set networks=FOLDER" in alexnet
    assert "--set download=true" in alexnet
