"""The low-level head; the released weights' own numbers are in tests/released."""

import torch
from torch import nn

from mindeye2.models.lowlevel import LowLevelHead, Upsampler, maps_projector


def test_without_upsampler_the_head_is_linear(rng):
    linear = nn.Linear(6, 2 * 3 * 4)
    latents = torch.randn(5, 6, generator=rng)
    images, maps = LowLevelHead(linear, shape=(2, 3, 4), dropout=0.5)(latents)
    assert maps is None
    assert torch.equal(images, linear(latents).view(5, 2, 3, 4))


def test_the_upsampled_head_gives_latents_and_maps(rng):
    head = LowLevelHead(
        nn.Linear(6, 4 * 3 * 3),
        shape=(4, 3, 3),
        upsampler=Upsampler(4, 2, widths=(4, 8), groups=2),
        maps=maps_projector(4, 10),
    )
    images, maps = head(torch.randn(5, 6, generator=rng))
    assert images.shape == (5, 2, 6, 6)
    assert maps.shape == (5, 9, 10)


def test_dropout_acts_on_coarse_maps_in_training_only(rng):
    head = LowLevelHead(nn.Linear(6, 4 * 9), shape=(4, 3, 3), dropout=0.5, upsampler=nn.Identity())
    latents = torch.randn(5, 6, generator=rng)
    assert not torch.equal(head(latents)[0], head(latents)[0])
    head.eval()
    assert torch.equal(head(latents)[0], head(latents)[0])


def test_the_upsampler_doubles_the_size_between_levels(rng):
    upsampler = Upsampler(6, 3, widths=(4, 4, 8), groups=2)
    assert upsampler(torch.randn(2, 6, 5, 3, generator=rng)).shape == (2, 3, 20, 12)


def test_attention_at_the_coarsest_level_reaches_all_positions(rng):
    upsampler = Upsampler(6, 3, widths=(4,), groups=2)
    x = torch.randn(1, 6, 20, 20, generator=rng)
    far = x.clone()
    far[..., 0, 0] += 1
    changed = (upsampler(far) - upsampler(x)).abs()[0, :, 15:, 15:]
    assert (changed.amax(dim=0) > 0).all()
