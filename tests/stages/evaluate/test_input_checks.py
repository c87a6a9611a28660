"""What evaluate refuses before it scores anything, in words that say what to do."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from mindeye2.cli import app
from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.stages.evaluate import EvaluateSettings, evaluate


@pytest.fixture
def copy(six, tmp_path):
    """Return a copy of the reconstructions of six images, with its data set beside it."""
    return shutil.copytree(six.parent, tmp_path / "copy") / "decoded"


def seal(folder, stage="reconstruct", **changes):
    """Write the manifest of a folder whose files were changed."""
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = {k: v for k, v in manifest.items() if k not in ("schema", "stage", "mindeye2", "files")}
    write_manifest(folder, stage=stage, **{**kept, **changes})


def refuse(folder, message, *, error=ArtifactError, **options):
    settings = EvaluateSettings(protocol="mindeye2-2024", n_resamples=100)
    out = folder.parent / "scores"
    with pytest.raises(error, match=message):
        evaluate(settings, source=folder, out=out, device="cpu", **options)
    return out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:4], r"refined\.npy has 4 images, but items\.parquet beside it lists 6"),
        (
            lambda x: (x / 255).astype(np.float32),
            r"must hold 8-bit RGB images.*got float32 .*\(images \* 255\)",
        ),
        (lambda x: np.where(x > 250, np.nan, x), r"8-bit RGB.*got float64.*NaN"),
        (lambda x: x[..., :1], r"got uint8 values of the shape \(6, 64, 64, 1\)"),
    ],
    ids=["count", "range", "nan", "channels"],
)
def test_images_of_another_count_range_or_shape_are_refused(copy, change, message):
    np.save(copy / "refined.npy", change(np.load(copy / "refined.npy")))
    seal(copy)
    refuse(copy, message)


def test_tables_that_do_not_fit_the_data_set_are_refused(copy):
    table = copy / "items.parquet"
    pd.DataFrame({"image": [0, 1, 1, 2, 3, 4]}).to_parquet(table)
    seal(copy)
    refuse(copy, r"lists image 1 more than once")
    pd.DataFrame({"image": [0, 1, 2, 3, 4, 8]}).to_parquet(table)
    seal(copy)
    refuse(copy, r"lists image 8, but .* has 8 images, 0 to 7\..*--data")


def test_a_data_set_in_another_order_is_refused(copy):
    """It would be scored without a word, each reconstruction against another image."""
    other = shutil.copytree(copy.parent / "data", copy.parent / "other")
    images = np.load(other / "images.npy")
    images[:6] = images[:6][::-1]
    np.save(other / "images.npy", images)
    seal(other, stage="prepare")
    refuse(copy, r"other images, or the same in another order.*\.\./data", data=other)
    moved = shutil.move(copy.parent / "data", copy.parent / "moved")
    settings = EvaluateSettings(protocol="mindeye2-2024", n_resamples=100)
    evaluate(settings, source=copy, out=copy.parent / "scores", data=moved, device="cpu")


def test_a_constant_image_is_named_by_its_number(copy):
    images = np.load(copy.parent / "data" / "images.npy")
    images[4] = 128
    np.save(copy.parent / "data" / "images.npy", images)
    seal(copy.parent / "data", stage="prepare")
    message = r"^image 4 of .* is of a single grey value.*Leave constant images out"
    refuse(copy, message, error=ValueError)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:5], r"has 5 rows of 'retrieval', but items\.parquet beside it lists 6"),
        (
            lambda x: x / (torch.arange(6) != 2)[:, None, None],
            r"in 1 of 6 rows.*'retrieval'.*row 2",
        ),
    ],
    ids=["count", "nan"],
)
def test_tokens_of_other_images_or_with_nan_are_refused(copy, change, message):
    tokens = load_file(copy / "tokens.safetensors")
    tokens["retrieval"] = change(tokens["retrieval"]).contiguous()
    save_file(tokens, copy / "tokens.safetensors")
    seal(copy)
    refuse(copy, message)


def test_captions_that_are_missing_are_not_scored_as_wrong_ones(copy):
    path = copy.parent / "data" / "captions.parquet"
    captions = pd.read_parquet(path)
    captions[captions["image"] != 3].to_parquet(path)
    seal(copy.parent / "data", stage="prepare")
    settings = EvaluateSettings(n_resamples=100, extractor_size=64)
    evaluate(settings, source=copy, out=copy.parent / "laptop", device="cpu")
    missing = read_manifest(copy.parent / "laptop", stage="evaluate")["missing"]
    assert len(missing) == 1
    assert "has none of 1 of 6, e.g. of image 3" in missing[0]
    assert "caption" not in pd.read_parquet(copy.parent / "laptop" / "scores.parquet")
    items = pd.read_parquet(copy / "items.parquet")
    items.loc[2, "caption"] = None
    items.to_parquet(copy / "items.parquet")
    seal(copy)
    refuse(copy, r"no caption of 1 of 6 images, the first in row 2")


def test_one_image_is_refused_and_the_next_stage_says_so(copy):
    """The error stays in the folder, so that report shows it instead of a missing manifest."""
    pd.read_parquet(copy / "items.parquet")[:1].to_parquet(copy / "items.parquet")
    seal(copy)
    scores, page = copy.parent / "scores", copy.parent / "page"
    words = [["evaluate", "--source", copy, "--out", scores], ["report", "--source", scores]]
    for command in (words[0], [*words[1], "--out", page]):
        done = CliRunner().invoke(app, list(map(str, command)))
        assert done.exit_code == 2
        assert "lists 1 test image: scores that compare images" in done.stderr
        assert "--set table.splits.test=0.2" in done.stderr


def test_a_folder_of_one_protocol_is_not_resumed_with_another(copy):
    out = copy.parent / "scores"
    laptop = EvaluateSettings(n_resamples=100, extractor_size=64)
    evaluate(laptop, source=copy, out=out, device="cpu")
    with pytest.raises(ArtifactError, match=r"started with other settings: \['protocol'\] differ"):
        evaluate(
            laptop.model_copy(update={"protocol": "v1"}),
            source=copy, out=out, resume=True, device="cpu",
        )  # fmt: skip
