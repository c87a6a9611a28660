import numpy as np
import pandas as pd
import pytest

from mindeye2.data.prepared.reader import Prepared
from mindeye2.reporting.stimuli import Stimuli, draw_card


@pytest.fixture
def without_images(tmp_path):
    """Return a data set of two images that are not there; one has a caption."""
    trials = pd.DataFrame({"image": [1, 0, 1], "source_image": ["b.jpg", "a.jpg", "b.jpg"]})
    trials.to_parquet(tmp_path / "trials.parquet")
    captions = pd.DataFrame({"image": [0, 1], "caption": ["a dog", ""]})
    captions.to_parquet(tmp_path / "captions.parquet")
    return Prepared(folder=tmp_path, manifest={"has_images": False, "n_images": 2})


def test_a_card_shows_the_caption_or_else_the_name(without_images):
    stimuli = Stimuli(without_images)
    np.testing.assert_array_equal(stimuli.picture(0), draw_card("a dog"))
    np.testing.assert_array_equal(stimuli.picture(1), draw_card("b.jpg"))
    assert (draw_card("a dog") != draw_card("a cat")).any()


def test_images_that_are_there_are_shown(tmp_path):
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    np.save(tmp_path / "images.npy", images)
    stimuli = Stimuli(Prepared(folder=tmp_path, manifest={}))
    np.testing.assert_array_equal(stimuli.picture(1), images[1])
