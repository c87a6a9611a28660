import numpy as np
import pandas as pd
import pytest

from mindeye2.core.artifacts import write_manifest
from mindeye2.data.prepared.responses import load


@pytest.fixture
def folder(tmp_path):
    """Return a data set of 2 subjects; subj02 saw image 3 twice, 1 once, and 0 in training."""
    rows = [
        ("subj01", 0, "test", 0),
        ("subj02", 3, "test", 0),
        ("subj02", 1, "test", 0),
        ("subj02", 0, "train", 0),
        ("subj02", 3, "test", 1),
    ]
    table = pd.DataFrame(rows, columns=["subject", "image", "split", "repeat"])
    table.assign(session=1, run=1, trial=range(1, 6)).to_parquet(tmp_path / "trials.parquet")
    images = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "betas").mkdir()
    np.save(tmp_path / "betas" / "subj01.npy", np.zeros((1, 5), np.float16))
    betas = np.arange(4, dtype=np.float16)[:, None] * np.ones((1, 7), np.float16)
    np.save(tmp_path / "betas" / "subj02.npy", betas)
    captions = pd.DataFrame({"image": range(4), "caption": list("abcd")})
    captions.to_parquet(tmp_path / "captions.parquet")
    write_manifest(tmp_path, stage="prepare", config={}, subjects={"subj01": 5, "subj02": 7})
    return tmp_path


def test_row_n_of_everything_belongs_to_one_image(folder):
    test = load(folder, subject="subj02")
    assert test.betas.shape == (2, 2, 7)
    assert test.image_rows.tolist() == [1, 3]
    assert test.images[:, 0, 0, 0].tolist() == [1, 3]
    assert test.captions == ["b", "d"]
    np.testing.assert_array_equal(test.betas[:, :, 0], [[1, np.nan], [0, 3]])


def test_other_splits_are_loaded_on_request(folder):
    train = load(folder, subject="subj02", split="train")
    assert (len(train), train.betas[0, 0, 0], train.captions) == (1, 2, ["a"])


def test_responses_are_described_in_one_line(folder):
    (folder / "captions.parquet").unlink()
    write_manifest(folder, stage="prepare", config={}, subjects={"subj02": 7})
    assert repr(load(folder)) == (
        "Responses(subj02, test: betas (2, 2, 7), images (2, 2, 2, 3), no captions)"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"has the subjects \['subj01', 'subj02'\]: give one as subject="),
        ({"subject": "subj022"}, r"subject must be one of .*Did you mean 'subj02'\?"),
        ({"subject": "subj01", "split": "tst"}, r"split must be one of .*Did you mean 'test'\?"),
        ({"subject": "subj01", "split": "train"}, r"subj01 has no trials in the split 'train'"),
    ],
)
def test_wrong_names_are_answered_with_those_there(folder, given, message):
    with pytest.raises(ValueError, match=message):
        load(folder, **given)
