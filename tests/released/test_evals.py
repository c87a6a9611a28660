"""Outputs of the released notebooks: imported in their order, scored, or refused."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

from mindeye2.cli import app
from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.released.evals import import_evals, is_evals
from mindeye2.stages.evaluate import EvaluateSettings, evaluate
from mindeye2.stages.report import ReportSettings, report

MODEL = "final_subj01_pretrained_40sess_24bs"
ROWS = [5, 2, 7, 3, 6, 4]
"""Test images of the data set, in the order of their numbers in NSD."""


@pytest.fixture
def data(tmp_path):
    """Return a prepared data set whose test images are stored in another order than NSD's."""
    folder, rng = tmp_path / "data", np.random.default_rng(0)
    (folder / "targets" / "bigg").mkdir(parents=True)
    (folder / "voxels").mkdir()
    pd.DataFrame({"i": range(5)}).to_parquet(folder / "voxels" / "subj01.parquet")
    coarse = torch.from_numpy(rng.random((8, 3, 6, 6), np.float32))
    images = (F.interpolate(coarse, (48, 48), mode="bilinear") * 255).byte()
    np.save(folder / "images.npy", images.permute(0, 2, 3, 1).numpy())
    tokens = rng.standard_normal((8, 4, 6)).astype(np.float16)
    np.save(folder / "targets" / "bigg" / "values.npy", tokens)
    rows = [0, 1, *ROWS, *ROWS]
    trials = pd.DataFrame(
        {"image": rows, "source_image": [100, 7, *range(10, 16), *range(10, 16)]}
    )
    trials["split"] = ["train"] * 2 + ["test"] * 12
    trials.assign(subject="subj01", session=1).to_parquet(folder / "trials.parquet")
    captions = pd.DataFrame({"image": range(8), "caption": [f"a cat {i}" for i in range(8)]})
    captions.to_parquet(folder / "captions.parquet")
    write_manifest(folder, stage="prepare", config={}, subjects={"subj01": 5}, label="")
    return folder


@pytest.fixture
def stimuli(data):
    """Return the test images as the published file has them: 256 pixels, in [0, 1]."""
    images = torch.from_numpy(np.load(data / "images.npy")[ROWS]).permute(0, 3, 1, 2) / 255
    return F.interpolate(images, (256, 256), mode="bilinear")


@pytest.fixture
def evals(data, stimuli, tmp_path):
    """Return the folder of a model's outputs, which are the stimuli themselves."""
    folder = tmp_path / "evals" / MODEL
    folder.mkdir(parents=True)
    tokens = np.load(data / "targets" / "bigg" / "values.npy")[ROWS]
    outputs = {
        "recons": stimuli,
        "enhancedrecons": F.interpolate(stimuli, (512, 512), mode="nearest"),
        "blurryrecons": torch.ones_like(stimuli),
        "predcaptions": np.array([f"a cat {i}" for i in ROWS]),
        "clipvoxels": torch.from_numpy(tokens).float(),
    }
    for name, value in outputs.items():
        torch.save(value, folder / f"{MODEL}_all_{name}.pt")
    torch.save(stimuli, folder.parent / "all_images.pt")
    return folder


def test_published_outputs_are_scored(data, evals, tmp_path):
    """Outputs that are the stimuli reach the best value of every metric."""
    run = CliRunner().invoke
    out = tmp_path / "out"
    done = run(app, ["import", str(evals), "--data", str(data), "--out", str(out)])
    assert done.exit_code == 0, done.output
    settings = EvaluateSettings(extractor_size=64, n_resamples=200)
    evaluate(settings, source=out, out=tmp_path / "scores")
    rows = {r["name"]: r for r in json.loads((tmp_path / "scores" / "summary.json").read_text())}
    for name in ("image_top1_retrieval_head", "brain_top1_retrieval_head", "caption"):
        assert rows[name]["value"] == 1, name
    for name in ("pixcorr_unclip", "pixcorr_refined", "ssim_refined", "pixcorr_blended"):
        assert rows[name]["value"] == pytest.approx(1, abs=1e-3), name
    assert "image_top1" not in rows


def test_published_captions_are_kept_beside_the_decoded_ones(data, evals, tmp_path):
    """One string an image each, in the folder above those of models."""
    torch.save(np.array([f" a mat {i}\n" for i in ROWS]), evals.parent / "all_captions.pt")
    torch.save([f"cat {i}" for i in ROWS], evals.parent / "all_git_generated_captions.pt")
    import_evals(evals, data=data, out=tmp_path / "out")
    items = pd.read_parquet(tmp_path / "out" / "items.parquet")
    assert items["reference"].tolist() == [f"a mat {i}" for i in ROWS]
    assert items["git_caption"].tolist() == [f"cat {i}" for i in ROWS]
    torch.save(["one"], evals.parent / "all_captions.pt")
    with pytest.raises(ArtifactError, match=r"all_captions\.pt has 1 captions for 6 test images"):
        import_evals(evals, data=data, out=tmp_path / "other")


def test_published_outputs_are_reported(data, evals, tmp_path):
    """They name no seed, no nearest training image and no training."""
    import_evals(evals, data=data, out=tmp_path / "out")
    settings = EvaluateSettings(extractor_size=64, n_resamples=200)
    evaluate(settings, source=tmp_path / "out", out=tmp_path / "scores")
    report(ReportSettings(), source=tmp_path / "scores", out=tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text()
    assert MODEL in page
    assert "Nearest training image" not in page


def test_images_are_resized_to_256_pixels_and_blended_3_to_1(data, evals, stimuli, tmp_path):
    import_evals(evals, data=data, out=tmp_path / "out")
    refined, blended = (np.load(tmp_path / "out" / f"{n}.npy") for n in ("refined", "blended"))
    assert refined.shape == (6, 256, 256, 3)
    want = (0.75 * stimuli + 0.25).permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(blended - want).max() <= 0.51
    items = pd.read_parquet(tmp_path / "out" / "items.parquet")
    assert items["image"].tolist() == ROWS
    assert items["n_repeats"].tolist() == [2] * 6


def test_missing_outputs_and_targets_are_left_out(data, evals, tmp_path):
    for path in evals.glob("*_all_*.pt"):
        if not path.name.endswith(("_recons.pt", "_clipvoxels.pt")):
            path.unlink()
    (data / "targets" / "bigg" / "values.npy").unlink()
    (data / "targets" / "bigg").rmdir()
    write_manifest(data, stage="prepare", config={}, subjects={"subj01": 5}, label="")
    shown = []
    import_evals(evals, data=data, out=tmp_path / "out", echo=shown.append)
    assert "retrieval is not scored" in shown[0]
    settings = EvaluateSettings(extractor_size=64, n_resamples=200)
    evaluate(settings, source=tmp_path / "out", out=tmp_path / "scores")
    scores = pd.read_parquet(tmp_path / "scores" / "scores.parquet")
    assert "pixcorr_unclip" in scores
    assert not {"rank", "caption", "image_top1_retrieval_head"} & set(scores)


def test_outputs_of_other_images_are_refused(data, evals, stimuli, tmp_path):
    torch.save(stimuli.roll(1, dims=0), evals.parent / "all_images.pt")
    with pytest.raises(ArtifactError, match=r"differ in 6 of 6 rows .*Give the data set"):
        import_evals(evals, data=data, out=tmp_path / "out")
    torch.save(stimuli[:4], evals / f"{MODEL}_all_recons.pt")
    with pytest.raises(ArtifactError, match=r"has 4 rows, but the test set of subj01 .* has 6"):
        import_evals(evals, data=data, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_outputs_are_recognised_and_need_a_subject_and_a_data_set(data, evals, tmp_path):
    assert is_evals(evals)
    assert not is_evals(data)
    failed = CliRunner().invoke(app, ["import", str(evals), "--out", str(tmp_path / "out")])
    assert failed.exit_code == 2
    assert "add --data with their prepared data set" in failed.stderr
    other = tmp_path / "own"
    other.mkdir()
    (evals / f"{MODEL}_all_recons.pt").rename(other / "mine_all_recons.pt")
    with pytest.raises(ValueError, match="name a subject"):
        import_evals(other, data=data, out=tmp_path / "out")
