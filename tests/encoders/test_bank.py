import json
import threading

import numpy as np
import pytest
import torch

from mindeye2.encoders.bank import Bank, to_float
from mindeye2.encoders.registry import load_encoder


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, size=(70, 4, 4, 3), dtype=np.uint8)


class Counting:
    """Encodes an image as its mean colour, and counts images; fails after `limit` of them."""

    def __init__(self, limit=10**6):
        self.count = 0
        self.limit = limit
        self.lock = threading.Lock()

    def __call__(self, images):
        with self.lock:
            self.count += len(images)
            if self.count > self.limit:
                raise KeyboardInterrupt
        return images.mean(dim=(2, 3))[:, None]


def fill(folder, images, encode, *, world_size=1, **changes):
    """Fill a bank as one process or, one after the other, as several; return its values."""
    given = {"name": "mean", "key": "a1", "batch_size": 2} | changes
    bank = Bank(folder, images=images, **given)
    bank.begin()
    for rank in reversed(range(world_size)):
        bank.fill(encode, device=torch.device("cpu"), rank=rank, world_size=world_size)
    bank.seal()
    return np.load(folder / "mean" / "values.npy")


def test_stored_images_become_channels_first_between_0_and_1():
    batch = to_float(np.array([[[[0, 51, 255]]]], np.uint8))
    torch.testing.assert_close(batch, torch.tensor([0.0, 0.2, 1.0]).view(1, 3, 1, 1))


def test_a_bank_has_one_float16_row_per_image(tmp_path, images):
    bank = fill(tmp_path, images, Counting())
    assert bank.dtype == np.float16
    np.testing.assert_allclose(bank[:, 0], images.mean(axis=(1, 2)) / 255, atol=1e-3)
    assert {p.name for p in (tmp_path / "mean").iterdir()} == {"values.npy", "encoder.json"}
    assert json.loads((tmp_path / "mean" / "encoder.json").read_text())["done"] == 70


def test_a_finished_bank_is_not_computed_again(tmp_path, images):
    fill(tmp_path, images, Counting())
    again = Counting()
    fill(tmp_path, images, again)
    assert again.count == 0


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_a_partial_bank_is_resumed_by_any_number_of_processes(tmp_path, images, world_size):
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, images, Counting(limit=50), world_size=2)
    assert not (tmp_path / "mean" / "encoder.json").exists()
    rest = Counting()
    fill(tmp_path, images, rest, world_size=world_size)
    assert rest.count == 20
    fill(tmp_path / "whole", images, Counting())
    files = [folder / "mean" / "values.npy" for folder in (tmp_path, tmp_path / "whole")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_every_number_of_processes_writes_the_file_of_numpy(tmp_path, images):
    """To the byte; with more processes than batches too."""
    np.save(tmp_path / "one.npy", fill(tmp_path / "one", images, Counting()))
    for n in (2, 3, 50):
        fill(tmp_path / str(n), images, Counting(), world_size=n)
        written = (tmp_path / str(n) / "mean" / "values.npy").read_bytes()
        assert written == (tmp_path / "one.npy").read_bytes()


def test_every_number_of_threads_writes_the_same_file(tmp_path):
    """The same network on two threads at a batch gives other last digits."""
    photographs = np.random.default_rng(0).integers(0, 256, size=(40, 64, 64, 3), dtype=np.uint8)
    encoder, before = load_encoder("lite0"), torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            fill(tmp_path / str(n), photographs, encoder, batch_size=8)
    finally:
        torch.set_num_threads(before)
    files = [(tmp_path / str(n) / "mean" / "values.npy").read_bytes() for n in (1, 2, 3)]
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize("change", ["key", "images", "a whole one", "its file"])
def test_another_encoder_or_other_images_are_computed_anew(tmp_path, images, change):
    limit = 10**6 if change == "a whole one" else 50
    try:
        fill(tmp_path, images, Counting(limit))
    except KeyboardInterrupt:
        assert limit == 50
    other = images.copy()
    other[-1, 0, 0, 0] ^= 1
    again = Counting()
    if change == "its file":
        (tmp_path / "mean" / "values.npy").unlink()
        fill(tmp_path, images, again)
    elif change == "key":
        fill(tmp_path, images, again, key="a2")
    else:
        fill(tmp_path, other, again)
    assert again.count == 70
