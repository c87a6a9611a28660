"""Copies among images of noise blocks, planted one by one."""

import numpy as np
import pytest
import scipy.ndimage

from mindeye2.data.image_copies import find_copies, perceptual_hash, shrink_images


@pytest.fixture
def images():
    """Return 40 smooth random images."""
    noise = np.random.default_rng(2).uniform(0, 255, (40, 64, 64, 3))
    smooth = scipy.ndimage.gaussian_filter(noise, (0, 4, 4, 0), mode="wrap")
    low, high = smooth.min(), smooth.max()
    return ((smooth - low) / (high - low) * 255).astype(np.uint8)


def brighter(image):
    return (image * 0.8 + 30).astype(np.uint8)


def find(images):
    halves = np.arange(20), np.arange(20, 40)
    return find_copies(images, *(shrink_images(images, rows) for rows in halves))


def test_each_kind_of_copy_is_found_with_both_rows(images):
    images[21], images[25], images[39] = images[3], brighter(images[4]), images[19][:, ::-1]
    assert find(images) == {
        (3, 21): "exactly the same", (4, 25): "nearly the same", (19, 39): "mirrored"
    }  # fmt: skip


def test_different_images_are_no_copies(images):
    assert find(images) == {}


def test_the_hash_is_invariant_to_brightness_and_differs_between_images(images):
    bits = perceptual_hash(images)
    differ = (63 - bits @ perceptual_hash(brighter(images)).T) / 2
    assert differ.diagonal().max() <= 2
    assert differ[~np.eye(40, dtype=bool)].min() > 8
