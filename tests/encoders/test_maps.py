"""Teacher maps of clean and augmented images, in the target bank."""

import numpy as np
import pytest
import torch

from mindeye2.encoders.bank import Bank, ImageEncoder, to_float
from mindeye2.encoders.convnext import build_convnext_teacher
from mindeye2.encoders.maps import TeacherMaps


@pytest.fixture(scope="module")
def teacher():
    built = build_convnext_teacher(depths=(1, 1, 1, 1), widths=(4, 4, 4, 8), projector=(6, 5))
    return built.eval().requires_grad_(requires_grad=False)


@pytest.fixture
def images(rng):
    return torch.randint(0, 256, (5, 40, 40, 3), generator=rng, dtype=torch.uint8).numpy()


def test_the_bank_does_not_depend_on_the_batch(teacher, images, tmp_path):
    for seed in (None, 3):
        encoder = TeacherMaps(teacher, seed=seed)
        banks = []
        for batch in (2, 5):
            bank = Bank(
                tmp_path / str(batch),
                images=images,
                name=encoder.name,
                key=encoder.key,
                batch_size=batch,
            )
            bank.begin()
            bank.fill(encoder, device=torch.device("cpu"))
            banks.append(np.load(tmp_path / str(batch) / encoder.name / "values.npy"))
        assert banks[0].shape == (5, 49, 5)
        np.testing.assert_allclose(*banks, atol=2e-3)


def test_augmented_maps_differ_from_clean_ones_and_between_seeds(teacher, images):
    batch = to_float(images)
    clean, one, two = (TeacherMaps(teacher, seed=s) for s in (None, 1, 2))
    assert len({e.key for e in (clean, one, two)}) == 3
    assert (clean(batch) - one(batch)).abs().max() > 1e-3
    assert (one(batch) - two(batch)).abs().max() > 1e-3
    assert isinstance(clean, ImageEncoder)
