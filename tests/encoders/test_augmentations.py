"""The published random augmentations."""

import torch

from mindeye2.encoders.augmentations import augment


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_the_generator_decides_and_the_range_stays(rng):
    image = torch.rand(3, 32, 32, generator=rng)
    first, again = (augment(image, generator=seeded(1)) for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    others = torch.stack([augment(image, generator=seeded(s)) for s in range(20)])
    assert others.min() >= 0
    assert others.max() <= 1
    assert len({float(o.sum()) for o in others}) == 20


def test_one_image_in_ten_turns_grey(rng):
    image = torch.rand(3, 8, 8, generator=rng)
    augmented = torch.stack([augment(image, generator=seeded(s)) for s in range(150)])
    grey = (augmented.amax(dim=1) - augmented.amin(dim=1)).amax(dim=(1, 2)) < 1e-5
    assert 4 < int(grey.sum()) < 32


def test_a_constant_image_stays_constant():
    flat = torch.full((3, 24, 24), 0.4)
    augmented = augment(flat, generator=seeded(3))
    assert augmented.shape == flat.shape
    assert augmented.flatten(1).std(dim=1).max() < 1e-6
