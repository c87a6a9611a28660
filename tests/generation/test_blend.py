import pytest
import torch

from mindeye2.generation.blend import blend


def test_a_quarter_of_the_low_level_image_goes_in_by_default():
    mixed = blend(torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8))
    torch.testing.assert_close(mixed, torch.full((2, 3, 8, 8), 0.25))


@pytest.mark.parametrize(("share", "which"), [(0.0, 0), (1.0, 1)])
def test_the_ends_are_the_pictures_themselves(share, which, rng):
    pictures = torch.rand(2, 1, 3, 8, 8, generator=rng)
    torch.testing.assert_close(blend(*pictures, share=share), pictures[which])


def test_a_smaller_low_level_image_is_resized_to_the_picture(rng):
    coarse = torch.rand(1, 3, 1, 1, generator=rng)
    mixed = blend(torch.zeros(1, 3, 8, 6), coarse, share=1.0)
    torch.testing.assert_close(mixed, coarse.expand(1, 3, 8, 6))


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match=rf"share must be in \[0, 1\], got {share}"):
        blend(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), share=share)
