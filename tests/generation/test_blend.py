import pytest
import torch

from mindeye2.generation.blend import blend


def test_the_blurry_image_has_a_weight_of_a_quarter_by_default():
    mixed = blend(torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8))
    torch.testing.assert_close(mixed, torch.full((2, 3, 8, 8), 0.25))


@pytest.mark.parametrize(("weight", "which"), [(0.0, 0), (1.0, 1)])
def test_weights_of_zero_and_one_return_an_input(weight, which, rng):
    images = torch.rand(2, 1, 3, 8, 8, generator=rng)
    torch.testing.assert_close(blend(*images, weight=weight), images[which])


def test_a_smaller_blurry_image_is_resized(rng):
    coarse = torch.rand(1, 3, 1, 1, generator=rng)
    mixed = blend(torch.zeros(1, 3, 8, 6), coarse, weight=1.0)
    torch.testing.assert_close(mixed, coarse.expand(1, 3, 8, 6))


@pytest.mark.parametrize("weight", [-0.1, 1.1])
def test_a_weight_out_of_range_is_refused(weight):
    with pytest.raises(ValueError, match=rf"weight must be in \[0, 1\], got {weight}"):
        blend(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), weight=weight)
