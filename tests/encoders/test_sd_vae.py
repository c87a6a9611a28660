"""Stable Diffusion's VAE, with diffusers' own class at a tiny size."""

import pytest
import torch

from mindeye2.encoders.sd_vae import SdLatents, VaeSettings, build_vae, infer_vae

SIZES = VaeSettings(widths=(4, 8, 8, 8), n_layers=1, groups=2)


@pytest.fixture(scope="module")
def encoder():
    vae = build_vae(SIZES)
    return SdLatents(vae.eval(), weights_key="test")


@torch.no_grad()
def test_latents_are_an_eighth_of_224_pixels_whatever_the_image(encoder, rng):
    images = torch.rand(1, 3, 96, 96, generator=rng)
    assert encoder(images).shape == (1, 4, 28, 28)
    assert encoder.key == "sd-vae-224-test"


@torch.no_grad()
def test_latents_are_the_scaled_mode_of_images_in_minus_one_to_one(encoder, rng):
    images = torch.rand(1, 3, 224, 224, generator=rng)
    want = encoder.vae.encode(2 * images - 1).latent_dist.mode() * 0.18215
    torch.testing.assert_close(encoder(images), want)
    decoded = encoder.decode(want)
    assert decoded.shape == images.shape
    assert 0 <= decoded.min() <= decoded.max() <= 1


def test_sizes_are_read_from_the_shapes(encoder):
    assert infer_vae(encoder.vae.state_dict(), groups=2) == SIZES
    with pytest.raises(ValueError, match=r"post_quant_conv.weight.*missing"):
        infer_vae({})
