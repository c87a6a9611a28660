"""Published files to a page, by commands alone; networks of the published classes at small sizes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mindeye2.cli import app


def run(command, *positional, **options):
    """Run a command of the package; a list is repeated."""
    args = [command, *map(str, positional)]
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            args += [f"--{name}", str(one)]
    assert not app(args, standalone_mode=False), args  # the exit code


def scored(source, name, tmp_path):
    """Evaluate and report a folder; return its scores and its page."""
    scores, page = tmp_path / f"{name}-scores", tmp_path / f"{name}-page"
    few = ["extractor_size=64", "n_resamples=100"]
    run("evaluate", source=source, out=scores, set=few)
    run("report", source=scores, out=page)
    return pd.read_parquet(scores / "scores.parquet"), (page / "index.html").read_text()


@pytest.mark.slow
def test_published_files_are_imported_adapted_decoded_scored_and_reported(
    files, data, settings, tmp_path
):
    weights = tmp_path / "weights"
    for name, file in (
        ("brain", "last.pth"),
        ("unclip", "unclip6.ckpt"),
        ("lowlevel", "sd_image_var_autoenc.pth"),
        ("converter", "bigG_to_L.pth"),
    ):
        run("import", files / file, out=weights / name, set="head_channels=8")
    config = tmp_path / "settings.yaml"
    config.write_text(json.dumps(settings.model_dump(mode="json")))
    given = {"source": data, "config": config, "device": "cpu"}
    run("reconstruct", init=weights, out=tmp_path / "decoded", set="n_bank=3", **given)

    few = ["epochs=2", "steps_per_epoch=1", "per_subject=4", "losses.maps=0", "train_on=[train]"]
    own = tmp_path / "adapted"
    source = {"source": data, "device": "cpu"}
    run("train", recipe="released_adapt", init=weights / "brain", out=own, set=few, **source)
    run("reconstruct", init=own, out=tmp_path / "own", set=f"decoder={weights}", **given)

    for name in ("decoded", "own"):
        items = pd.read_parquet(tmp_path / name / "items.parquet")
        assert all("word" in caption for caption in items["caption"])
        table, page = scored(tmp_path / name, name, tmp_path)
        assert {"pixcorr_refined", "pixcorr_blended", "image_top1_retrieval_head"} <= set(table)
        for title in ("Refined", "unCLIP", "Low-level", "Reconstruction"):
            assert f">{title}<" in page, (name, title)
        assert Path(tmp_path / name / "refined.npy").exists()
        assert np.isfinite(table.to_numpy(float)).all()
