"""Brain correlation by region, against responses that GNet itself predicts."""

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.encoders.gnet import read_gnet
from mindeye2.metrics.protocols import REGIONS
from mindeye2.stages.evaluate import EvaluateSettings, evaluate

SETTINGS = EvaluateSettings(protocol="mindeye2-2024", n_resamples=100)


@pytest.fixture
def world(six, networks, tmp_path):
    """Return reconstructions whose test responses are GNet's to the seen images, with noise."""
    shutil.copytree(six.parent, tmp_path / "world")
    data = tmp_path / "world" / "data"
    images = np.load(data / "images.npy")[:6]
    large = torch.nn.functional.interpolate(
        torch.from_numpy(images).permute(0, 3, 1, 2).float(), (256, 256), mode="bilinear"
    )
    stored = large.round().byte().permute(0, 2, 3, 1).numpy()
    small = [np.asarray(Image.fromarray(x).resize((227, 227), 1)) for x in stored]
    gnet = read_gnet(networks / "gnet", subject="subj01")
    inputs = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2) / 255
    responses = gnet(inputs).numpy()
    betas = np.load(data / "betas" / "subj01.npy")
    offset = np.abs(responses).mean() * np.random.default_rng(0).standard_normal(responses.shape)
    betas[:6], betas[6:12] = responses + offset, responses - offset
    np.save(data / "betas" / "subj01.npy", betas)
    write_manifest(data, stage="prepare", config={}, subjects={"subj01": 24}, label="")
    return tmp_path / "world"


@pytest.fixture
def only_gnet(networks, tmp_path):
    """Return a folder of networks with GNet alone."""
    shutil.copytree(networks / "gnet", tmp_path / "networks" / "gnet")
    return tmp_path / "networks"


def correlations(world, folder, summary, out):
    settings = SETTINGS.model_copy(update={"networks": folder})
    evaluate(settings, source=world / "decoded", out=out, device="cpu")
    rows = summary(out)
    return {n: r["value"] for n, r in rows.items() if n.startswith("brain_correlation")}


def test_seen_images_predict_the_averaged_responses(world, only_gnet, summary, tmp_path):
    """Noise that cancels over the two presentations must not count."""
    rows = correlations(world, only_gnet, summary, tmp_path / "scores")
    for region in REGIONS:
        assert rows[f"brain_correlation_{region}_unclip"] == pytest.approx(1, abs=1e-3), region
    assert rows["brain_correlation_visual_lowlevel"] < 0.995


def test_the_noise_ceiling_is_the_reliability_of_the_responses(
    world, only_gnet, summary, tmp_path
):
    betas = np.load(world / "data" / "betas" / "subj01.npy")
    noise = np.random.default_rng(2).standard_normal((12, 24)) * np.abs(betas).mean()
    betas[:12] = (betas[:6] + betas[6:12])[[*range(6), *range(6)]] / 2 + noise
    np.save(world / "data" / "betas" / "subj01.npy", betas)
    write_manifest(world / "data", stage="prepare", config={}, subjects={"subj01": 24}, label="")
    correlations(world, only_gnet, summary, tmp_path / "scores")
    first, second = betas[:6].astype(float), betas[6:12].astype(float)
    covered = [
        np.cov(a, b)[0, 1] / np.var((a + b) / 2, ddof=1)
        for a, b in zip(first, second, strict=True)
    ]
    row = summary(tmp_path / "scores")["brain_correlation_visual_unclip"]
    want = np.sqrt(np.clip(covered, 0, 1)).mean()
    assert row["noise_ceiling_high"] == pytest.approx(want, abs=1e-3)
    assert row["noise_ceiling_low"] < row["value"] < 1


def test_regions_are_those_of_the_voxel_table_or_of_the_published_masks(
    world, only_gnet, summary, tmp_path
):
    """A voxel that answers at random lowers the regions that it belongs to, and no others."""
    betas = np.load(world / "data" / "betas" / "subj01.npy")
    assert pd.read_parquet(world / "data" / "voxels" / "subj01.parquet")["roi"][3] == "hV4"
    betas[:, 3] = np.random.default_rng(1).standard_normal(len(betas)) * np.abs(betas).max()
    np.save(world / "data" / "betas" / "subj01.npy", betas)
    write_manifest(world / "data", stage="prepare", config={}, subjects={"subj01": 24}, label="")

    def lowered(out):
        rows = correlations(world, only_gnet, summary, tmp_path / out)
        return {r for r in REGIONS if rows[f"brain_correlation_{r}_unclip"] < 0.99}

    assert lowered("table") == {"visual", "V4"}
    with h5py.File(only_gnet / "brain_region_masks.hdf5", "w") as file:
        for i, name in enumerate(["nsd_general", "V1", "V2", "V3", "V4", "higher_vis"]):
            file[f"subj01/{name}"] = np.arange(24) % 6 == i if i else np.ones(24, bool)
    assert lowered("masks") == {"visual", "V3"}


def test_what_is_missing_is_named(world, only_gnet, summary, tmp_path):
    correlations(world, None, summary, tmp_path / "a")
    missing = read_manifest(tmp_path / "a", stage="evaluate")["missing"]
    assert any("'mindeye2 import --released gnet" in m for m in missing)
    table = pd.DataFrame({"roi": ["nsdgeneral"] * 24})
    table.to_parquet(world / "data" / "voxels" / "subj01.parquet")
    write_manifest(world / "data", stage="prepare", config={}, subjects={"subj01": 24}, label="")
    rows = correlations(world, only_gnet, summary, tmp_path / "b")
    assert {name.split("_")[2] for name in rows} == {"visual"}
    missing = read_manifest(tmp_path / "b", stage="evaluate")["missing"]
    assert any("no voxels of V1, V2, V3, V4, higher visual cortex" in m for m in missing)
