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
def images(rng):
    return torch.rand(6, 3, 32, 48, generator=rng)


def noise_of(images, seed):
    """Return noise of the latents' shape."""
    shape = (len(images), 5, images.shape[2] // 16, images.shape[3] // 16)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_latents_are_sixteen_times_smaller_and_decode_to_the_input_s_size(autoencoder, images):
    latents = autoencoder.encode(images)
    assert latents.shape == (6, 5, 2, 3)
    assert autoencoder.decode(latents).shape == images.shape


def test_standardised_latents_have_no_mean_and_unit_variance_per_channel(autoencoder, images):
    before = autoencoder.decode(autoencoder.encode(images))
    autoencoder.standardise(list(images.split(2)))
    latents = autoencoder.encode(images).movedim(1, 0).flatten(1)
    torch.testing.assert_close(latents.mean(dim=1), torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(latents.std(dim=1), torch.ones(5))
    after = autoencoder.decode(autoencoder.encode(images))
    torch.testing.assert_close(after, before)


def test_images_stay_in_range_for_any_latents(autoencoder, rng):
    decoded = autoencoder.decode(1e4 * torch.randn(2, 5, 2, 2, generator=rng))
    assert decoded.min() >= 0
    assert decoded.max() <= 1


def test_training_adds_noise_to_latents_and_evaluation_does_not(autoencoder, images):
    outputs = [autoencoder(images, noise=noise_of(images, seed)) for seed in (0, 0, 1)]
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    silent = build_autoencoder(SMALL.model_copy(update={"noise": 0.0}))
    silent.load_state_dict(autoencoder.state_dict())
    through = silent(images, noise=noise_of(images, 0)).clamp(0, 1)
    torch.testing.assert_close(through, autoencoder.decode(autoencoder.encode(images)))


def test_it_learns_to_copy(images):
    """A few steps on three smooth images give a lower error than each image's mean colour."""
    with process_rng(0, "autoencoder"):
        autoencoder = build_autoencoder(SMALL)
    images = images[:3, :, :, :32]
    smooth = torch.nn.functional.interpolate(images[..., :2, :2], (32, 32), mode="bilinear")
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=1e-2)
    for step in range(40):
        loss = (autoencoder(smooth, noise=noise_of(smooth, step)) - smooth) ** 2
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    decoded = autoencoder.eval().decode(autoencoder.encode(smooth))
    floor = (smooth - smooth.mean(dim=(2, 3), keepdim=True)).square().mean()
    assert (decoded - smooth).square().mean() < floor
