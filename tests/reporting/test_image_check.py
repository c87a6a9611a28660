import numpy as np
import pandas as pd
import pytest

from mindeye2.data.prepared import Prepared
from mindeye2.reporting import image_check
from mindeye2.reporting.image_check import check_test_images


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Return a function that makes a data set of 12 images, the last 4 of the test split."""
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    images = images.repeat(8, axis=1).repeat(8, axis=2)

    def make(*, copy=None, shown=range(12), **manifest):
        if copy is not None:
            images[copy[1]] = images[copy[0]]
        split = ["train"] * 6 + ["validation"] * 2 + ["test"] * 4
        monkeypatch.setattr(Prepared, "images", images)
        monkeypatch.setattr(Prepared, "trials", pd.DataFrame({"image": shown, "split": split}))
        return Prepared(folder=tmp_path, manifest=manifest)

    return make


def test_images_that_no_training_trial_showed_are_called_so(prepared):
    found = check_test_images(prepared(), range(8, 12))
    assert found.clause == ", none of which was shown in a training trial, exactly or nearly"
    assert found.warning == ""


@pytest.mark.parametrize("change", [{"copy": (2, 9)}, {"shown": [9, *range(1, 12)]}])
def test_shared_images_are_never_called_new(prepared, change):
    found = check_test_images(prepared(**change), range(8, 12))
    assert "none of which" not in found.clause
    assert found.clause.startswith("; 1 of them ")
    assert "(rows 9)" in found.warning


def test_a_test_image_near_a_validation_image_counts_too(prepared):
    assert check_test_images(prepared(copy=(7, 11)), [11]).warning


def test_known_images_are_named_as_the_design(prepared):
    found = check_test_images(prepared(design="known_images"), range(4))
    assert "the question is which of them was seen" in found.clause
    assert found.warning == ""


def test_nothing_is_claimed_about_copies_where_they_were_not_searched(prepared, monkeypatch):
    monkeypatch.setattr(image_check, "MOST_IMAGES", 5)
    found = check_test_images(prepared(copy=(2, 9)), range(8, 12))
    assert "'mindeye2 doctor' searches for them" in found.clause
