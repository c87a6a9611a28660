import json

import numpy as np
import pytest
import torch

from mindeye2.encoders.bank import fill_bank, to_float


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, size=(70, 4, 4, 3), dtype=np.uint8)


class Counting:
    """Encodes an image as its mean colour, and counts images; fails after `limit` of them."""

    def __init__(self, limit=10**6):
        self.count = 0
        self.limit = limit

    def __call__(self, images):
        self.count += len(images)
        if self.count > self.limit:
            raise KeyboardInterrupt
        return images.mean(dim=(2, 3))[:, None]


def fill(folder, images, encode, **changes):
    given = {"name": "mean", "key": "a1", "batch_size": 2} | changes
    return np.load(fill_bank(folder, images=images, encode=encode, **given))


def test_stored_images_become_channels_first_between_0_and_1():
    batch = to_float(np.array([[[[0, 51, 255]]]], np.uint8))
    torch.testing.assert_close(batch, torch.tensor([0.0, 0.2, 1.0]).view(1, 3, 1, 1))


def test_a_bank_has_one_float16_row_per_image(tmp_path, images):
    bank = fill(tmp_path, images, Counting())
    assert bank.dtype == np.float16
    np.testing.assert_allclose(bank[:, 0], images.mean(axis=(1, 2)) / 255, atol=1e-3)


def test_a_finished_bank_is_not_computed_again(tmp_path, images):
    fill(tmp_path, images, Counting())
    again = Counting()
    fill(tmp_path, images, again)
    assert again.count == 0


def test_a_partial_bank_is_resumed(tmp_path, images):
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, images, Counting(limit=50))
    assert json.loads((tmp_path / "mean" / "encoder.json").read_text())["done"] == 40
    rest = Counting()
    bank = fill(tmp_path, images, rest)
    assert rest.count == 30
    np.testing.assert_allclose(bank[:, 0], images.mean(axis=(1, 2)) / 255, atol=1e-3)


@pytest.mark.parametrize("change", ["key", "images"])
def test_another_encoder_or_other_images_are_computed_anew(tmp_path, images, change):
    fill(tmp_path, images, Counting())
    other = images.copy()
    other[-1, 0, 0, 0] ^= 1
    again = Counting()
    if change == "key":
        fill(tmp_path, images, again, key="a2")
    else:
        fill(tmp_path, other, again)
    assert again.count == 70
