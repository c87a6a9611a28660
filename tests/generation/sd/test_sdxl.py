"""Seeds, batches, guidance in one or two passes, half precision; golden numbers are apart."""

import pytest
import torch

from mindeye2.core.runtime import process_rng
from mindeye2.encoders.sd_vae import VaeSettings, build_vae
from mindeye2.generation.sd.sdxl import Sdxl, SdxlSampling
from mindeye2.generation.sd.unet import UnetSettings, build_unet

UNET = UnetSettings(
    widths=(32, 64), n_layers=1, depths=(0, 1), head_channels=16, n_features=6, vector_width=32
)
VAE = VaeSettings(widths=(32, 32, 32, 32), n_layers=1)
QUICK = SdxlSampling(steps=3, size=64)


@pytest.fixture(scope="module")
def parts():
    with process_rng(0, "sdxl"):
        return build_unet(UNET).eval(), build_vae(VAE).eval()


@pytest.fixture
def build(parts):
    def build(**changes):
        sampling = QUICK.model_copy(update=changes)
        return Sdxl(unet=parts[0], vae=parts[1], sampling=sampling, size_width=8)

    return build


@pytest.fixture
def tokens(rng):
    return torch.randn(3, 5, 6, generator=rng)


def test_an_image_does_not_depend_on_the_rest_of_its_batch(build, tokens):
    together = build().decode(tokens, seeds=[5, 6, 7])
    alone = build().decode(tokens[1:2], seeds=[6])
    assert together.shape == (3, 3, 64, 64)
    torch.testing.assert_close(together[1:2], alone, rtol=1e-3, atol=1e-4)


def test_the_seed_and_the_tokens_decide_the_image(build, tokens):
    first, again, other = (build().decode(tokens[:1], seeds=[s]) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-2)
    assert not torch.allclose(build().decode(tokens[1:2], seeds=[1]), first, atol=1e-3)


def test_guidance_in_two_passes_gives_what_one_pass_gives(build, tokens):
    images = [
        build(batched_guidance=b, decode_batch=n).decode(tokens, seeds=[1, 2, 3])
        for b, n in ((True, 2), (False, 1))
    ]
    torch.testing.assert_close(*images, rtol=1e-3, atol=1e-4)


def test_without_guidance_the_random_tokens_are_not_used(build, tokens, rng):
    start = torch.randn(3, 4, 8, 8, generator=rng)
    sampled = [
        build().sample_latents(
            tokens, unconditional_tokens=u, initial_latents=start, steps=2, guidance_scale=1.0
        )
        for u in (tokens, tokens + 1)
    ]
    assert torch.equal(*sampled)


def test_the_brightness_is_a_setting_and_images_stay_in_range(build, tokens):
    outs = {
        b: build(brightness=b).decode(tokens, seeds=[1, 2, 3])
        for b in ((0.5, 0.5), (0.8, 0.2), (0.0, 2.0))
    }
    plain = outs[0.5, 0.5] * 2 - 1
    inside = plain.abs() < 0.99
    expected = (plain * 0.8 + 0.2).clamp(0, 1)
    torch.testing.assert_close(outs[0.8, 0.2][inside], expected[inside], rtol=1e-4, atol=1e-5)
    assert (outs[0.0, 2.0] == 1).all()


def test_half_precision_and_offload_change_images_little(build, tokens):
    sdxl = build()
    exact = sdxl.decode(tokens, seeds=[1, 2, 3])
    sdxl.to_device(torch.device("cpu"), dtype=torch.bfloat16, offload=True)
    try:
        rough = sdxl.decode(tokens, seeds=[1, 2, 3])
        assert next(sdxl.unet.parameters()).dtype == torch.bfloat16
        assert next(sdxl.vae.parameters()).dtype == torch.float32
    finally:
        sdxl.to_device(torch.device("cpu"))
    assert (rough - exact).abs().mean() < 0.05


def test_a_refinement_of_no_level_but_the_last_changes_nothing(build, tokens, rng):
    latents, noise = torch.randn(2, 3, 4, 8, 8, generator=rng)
    kept = build().refine_latents(
        latents, tokens, unconditional_tokens=tokens, noise=noise, last_sigmas=1
    )
    torch.testing.assert_close(kept, latents)


def test_the_size_vector_is_diffusers_embedding(build):
    vector = build().size_vector(original_size=(768, 512), crop=(0, 8), target_size=(1024, 1024))
    assert vector.shape == (1, 48)
    from diffusers.models.embeddings import get_timestep_embedding

    numbers = torch.tensor([768, 512, 0, 8, 1024, 1024])
    theirs = get_timestep_embedding(numbers, 8, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(vector, theirs.flatten()[None], rtol=1e-4, atol=1e-4)


def test_images_are_encoded_where_the_vae_is(parts, rng):
    # A sharded training leaves the U-Net without values on all ranks but the first.
    empty = Sdxl(unet=build_unet(UNET).to("meta"), vae=parts[1], sampling=QUICK, size_width=8)
    images = torch.rand(2, 3, 16, 16, generator=rng)
    expected = Sdxl(unet=parts[0], vae=parts[1], sampling=QUICK, size_width=8)
    torch.testing.assert_close(empty.encode_images(images), expected.encode_images(images))
    assert empty.size_vector().device.type == "cpu"
