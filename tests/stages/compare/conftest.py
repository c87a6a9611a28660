"""Scores of runs that do not exist, with the manifests that they would have."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from mindeye2.core.artifacts import read_manifest, write_json, write_manifest
from mindeye2.metrics.catalogue import METRICS


@pytest.fixture
def other(scores, tmp_path):
    """Return a function that copies the scores and changes tables, summary or manifest."""

    def _other(name, change=None, **facts):
        folder = shutil.copytree(scores, tmp_path / name)
        if change is not None:
            table = change(pd.read_parquet(folder / "scores.parquet"))
            table.to_parquet(folder / "scores.parquet", index=False)
            rows = json.loads((folder / "summary.json").read_text())
            for row in rows:
                row["value"] = float(table[row["name"]].mean())
            write_json(folder / "summary.json", rows)
        manifest = read_manifest(scores, stage="evaluate")
        dropped = {"schema", "stage", "mindeye2", "files"}
        kept = {k: v for k, v in manifest.items() if k not in dropped}
        config = {**kept.pop("config"), **facts.pop("config", {})}
        write_manifest(folder, stage="evaluate", config=config, **{**kept, **facts})
        return folder

    return _other


@pytest.fixture
def cell(tmp_path):
    """Return a function that writes scores of a cell of a grid, behind them run and decoding."""

    def _cell(
        recipe, *, subject, seed, n_trials, gain, level="full", protocol="laptop", n_images=12
    ):
        folder = tmp_path / f"{recipe}-{subject}-{seed}-{n_trials}-{level}"
        for name in ("run", "decoded", "scores"):
            (folder / name).mkdir(parents=True)
        config = {"recipe": recipe, "seed": seed, "n_trials": n_trials, "levels": level}
        count = 100 if n_trials is None else n_trials - 2
        write_manifest(folder / "run", stage="train", config=config, trials=count)
        write_manifest(folder / "decoded", stage="reconstruct", config={"init": "../run"})
        rng = np.random.default_rng(int(subject[-2:]))
        base = rng.uniform(0, 0.5, n_images)
        names = ("pixcorr_unclip", "ssim_unclip")
        table = pd.DataFrame({"image": np.arange(n_images), names[0]: base + gain, names[1]: base})
        table.to_parquet(folder / "scores" / "scores.parquet", index=False)
        blank = dict.fromkeys(("low", "high", "chance", "floor", "ceiling"))
        rows = [
            {"name": n, **asdict(METRICS[n]), **blank, "value": table[n].mean(), "n": n_images}
            for n in names
        ]
        write_json(folder / "scores" / "summary.json", rows)
        facts = {"source": "../decoded", "protocol": protocol}
        write_manifest(folder / "scores", stage="evaluate", config=facts, subject=subject)
        return folder / "scores"

    return _cell
