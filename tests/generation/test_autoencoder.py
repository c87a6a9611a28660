import pytest
import torch

from mindeye2.core.runtime import process_rng
from mindeye2.generation.autoencoder import AutoencoderSettings, build_autoencoder

SMALL = AutoencoderSettings(latent_channels=5, widths=(4, 6, 8), n_blocks=1)


@pytest.fixture
def autoencoder():
    with process_rng(0, "autoencoder"):
        return build_autoencoder(SMALL).eval().requires_grad_(requires_grad=False)


@pytest.fixture
def pictures(rng):
    return torch.rand(6, 3, 32, 48, generator=rng)


def test_latents_are_sixteen_times_smaller_and_decode_to_the_size_they_came_from(
    autoencoder, pictures
):
    latents = autoencoder.encode(pictures)
    assert latents.shape == (6, 5, 2, 3)
    assert autoencoder.decode(latents).shape == pictures.shape


def test_standardised_latents_have_no_mean_and_unit_variance_per_channel(autoencoder, pictures):
    before = autoencoder.decode(autoencoder.encode(pictures))
    autoencoder.standardise(list(pictures.split(2)))
    latents = autoencoder.encode(pictures).movedim(1, 0).flatten(1)
    torch.testing.assert_close(latents.mean(dim=1), torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(latents.std(dim=1), torch.ones(5))
    after = autoencoder.decode(autoencoder.encode(pictures))
    torch.testing.assert_close(after, before)


def test_pictures_stay_in_range_however_far_latents_stray(autoencoder, rng):
    drawn = autoencoder.decode(1e4 * torch.randn(2, 5, 2, 2, generator=rng))
    assert drawn.min() >= 0
    assert drawn.max() <= 1


def test_training_adds_noise_to_latents_and_evaluation_does_not(autoencoder, pictures):
    draws = [autoencoder(pictures, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    silent = build_autoencoder(SMALL.model_copy(update={"noise": 0.0}))
    silent.load_state_dict(autoencoder.state_dict())
    through = silent(pictures, generator=torch.Generator().manual_seed(0)).clamp(0, 1)
    torch.testing.assert_close(through, autoencoder.decode(autoencoder.encode(pictures)))


def test_it_learns_to_copy(pictures):
    """A few steps on six smooth pictures come nearer than each picture's mean colour."""
    with process_rng(0, "autoencoder"):
        autoencoder = build_autoencoder(SMALL)
    pictures = pictures[:3, :, :, :32]
    smooth = torch.nn.functional.interpolate(pictures[..., :2, :2], (32, 32), mode="bilinear")
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=1e-2)
    for step in range(40):
        loss = (autoencoder(smooth, generator=torch.Generator().manual_seed(step)) - smooth) ** 2
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    drawn = autoencoder.eval().decode(autoencoder.encode(smooth))
    floor = (smooth - smooth.mean(dim=(2, 3), keepdim=True)).square().mean()
    assert (drawn - smooth).square().mean() < floor
