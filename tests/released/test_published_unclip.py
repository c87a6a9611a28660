"""The published unCLIP: the released numbers, every name accounted for, and what is refused."""

import copy

import pytest
import torch

from mindeye2.released.published_unclip import load_unclip


@pytest.fixture(scope="module")
def case(golden_case):
    return golden_case("unclip")


@pytest.fixture(scope="module")
def state(case, fill):
    return fill(case[0]["state_dict"])


@pytest.fixture(scope="module")
def unclip(case, state):
    return load_unclip(state, head_channels=case[0]["num_head_channels"]).eval()


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_one_denoising_gives_the_released_numbers(unclip, case):
    golden = case[1]
    vector = unclip.size_vector(original_size=(768, 768), crop=(0, 0))
    close(vector, golden["vector"])
    close(
        unclip.denoise(golden["x"], golden["sigma"], golden["tokens"], vector), golden["denoised"]
    )


def test_sampling_gives_the_released_latents(unclip, case):
    """In float64: guidance multiplies rounding at every step, by processor more than 1e-4."""
    facts, golden = case
    close(unclip.sigmas(facts["num_steps"]), golden["sigmas"])
    sampled = (
        copy.deepcopy(unclip)
        .double()
        .sample_latents(
            golden["tokens"].double(),
            steps=facts["num_steps"],
            guidance_scale=facts["guidance_scale"],
            initial_latents=golden["noised_z"].double(),
            unconditional_tokens=golden["uncond_tokens"].double(),
        )
    )
    close(sampled.float(), golden["sampled_latents"])


def test_the_start_is_made_of_two_noises_as_released(case, unclip):
    """Steps of `Sdxl.decode`, with the noise given."""
    facts, golden = case
    first = unclip.sigmas(facts["num_steps"])[0]
    flat = facts["offset_noise_level"] * golden["offset"][:, None, None, None]
    start = (golden["z0"] + (golden["noise"] + flat) * first) / (1 + first**2).sqrt()
    close(start, golden["noised_z"])


def test_image_to_image_gives_the_released_latents(unclip, case):
    facts, golden = case
    refined = unclip.refine_latents(
        golden["refine_z"],
        golden["tokens"],
        steps=facts["num_steps"],
        last_sigmas=facts["refine_last_sigmas"],
        guidance_scale=facts["guidance_scale"],
        noise=golden["refine_noise"],
        unconditional_tokens=golden["uncond_tokens"],
    )
    close(refined, golden["refine_latents"])


def test_the_autoencoder_gives_the_released_images_and_latents(unclip, case):
    facts, golden = case
    close(unclip.decode_latents(golden["vae_latents"]), golden["vae_decoded"])
    mean, logvar = golden["vae_moments"].chunk(2, dim=1)
    image = golden["vae_image"] / 2 + 0.5
    close(unclip.encode_images(image), mean * facts["scale_factor"])
    noise = torch.ones_like(mean)
    sampled = (mean + (logvar / 2).exp()) * facts["scale_factor"]
    close(unclip.encode_images(image, noise=noise), sampled)


def test_every_parameter_of_the_published_checkpoint_is_accounted_for(golden_case):
    """At full size, without memory."""
    shapes, _ = golden_case("released_unclip6_keys")
    with torch.device("meta"):
        state = {name: torch.empty(shape) for name, shape in shapes.items()}
    unclip = load_unclip(state)
    published = sum(v.numel() for k, v in state.items() if k != "denoiser.sigmas")
    assert sum(p.numel() for p in unclip.parameters()) == published
    assert unclip.size_width == 256


def test_noise_levels_and_the_image_encoder_are_left_out(state):
    more = {"denoiser.sigmas": torch.zeros(9), "conditioner.embedders.0.x": torch.zeros(1)}
    assert load_unclip({**state, **more}, head_channels=8).size_width == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.diffusion_model.extra": torch.zeros(2)}, r"SDXL's U-Net: unknown .*\['extra'\]"),
        ({"model.diffusion_model.out.2.bias": None}, r"nothing for \['conv_out.bias'\]"),
        (
            {"model.diffusion_model.out.2.bias": torch.zeros(3)},
            r"out.2.bias of shape \(3,\) instead of \(4,\)",
        ),
        ({"first_stage_model.quant_conv.bias": None}, r"autoencoder: nothing for \['quant_conv"),
        ({"other.weight": torch.zeros(1)}, r"not a published unCLIP.*\['other.weight'\]"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(state, change, message):
    changed = {k: v for k, v in {**state, **change}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        load_unclip(changed, head_channels=8)
