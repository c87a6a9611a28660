import base64
import io

import numpy as np
import pytest
from PIL import Image

from mindeye2.reporting.images import ImageStore


def decode(uri):
    kind, _, text = uri.partition(";base64,")
    assert kind in ("data:image/webp", "data:image/jpeg")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"))


def test_images_come_back_in_their_size_and_colours():
    store = ImageStore(budget_bytes=10**6)
    image = np.zeros((40, 60, 3), np.uint8) + np.array([200, 100, 50], np.uint8)
    assert store.add(image, name="seen") == 0
    read = decode(store.encode()[0])
    assert read.shape == (40, 60, 3)
    assert np.abs(read.astype(int) - image).max() < 6


def test_equal_images_share_a_number_and_others_do_not():
    store = ImageStore(budget_bytes=10**6)
    black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    tall = np.zeros((16, 4, 3), np.uint8)  # the same bytes as `black` in another shape
    numbers = [store.add(p, name="p") for p in (black, white, black.copy(), tall, white[::-1])]
    assert numbers == [0, 1, 0, 2, 1]
    assert len(store.encode()) == 3


def test_large_images_are_shown_at_224_pixels_and_less_where_they_do_not_fit():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (300, 600, 3), dtype=np.uint8)
    sides = []
    for budget in (10**6, 8_000, 10):
        store = ImageStore(budget_bytes=budget)
        store.add(image, name="seen")
        sides.append(decode(store.encode()[0]).shape[:2])
    assert sides[0] == (112, 224)
    assert sides[1][1] in (160, 112, 96)
    assert sides[2] == (32, 64)


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((3, 8, 8), np.uint8)],
    ids=["floats", "grey", "channels first"],
)
def test_what_is_not_rgb_in_uint8_is_refused(image):
    message = r"low-level must be a uint8 array of shape \(height, width, 3\), got .*8"
    with pytest.raises(ValueError, match=message):
        ImageStore(budget_bytes=1).add(image, name="low-level")


def test_an_empty_image_is_refused():
    with pytest.raises(ValueError, match="seen is empty"):
        ImageStore(budget_bytes=1).add(np.zeros((0, 8, 3), np.uint8), name="seen")
