import numpy as np
import pytest
import torch

from mindeye2.generation.sd.schedule import (
    guided,
    nearest_level,
    noise_levels,
    sample_euler,
    training_levels,
)


def test_the_training_levels_are_those_of_diffusers_for_stable_diffusion():
    from diffusers import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    )
    theirs = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod) ** 0.5
    torch.testing.assert_close(training_levels(), theirs, rtol=1e-4, atol=0)


def test_a_sampler_visits_levels_of_training_from_the_noisiest_to_zero():
    for steps in (1, 8, 25, 38, 1000):
        sigmas = noise_levels(steps)
        assert len(sigmas) == steps + 1
        assert sigmas[0] == training_levels()[-1]
        assert sigmas[-1] == 0
        assert (sigmas.diff() < 0).all()
        assert np.isin(sigmas[:-1].numpy(), training_levels().numpy()).all()


@pytest.mark.parametrize("steps", [0, 1001])
def test_steps_out_of_range_are_refused(steps):
    with pytest.raises(ValueError, match=rf"steps must be from 1 to 1000, got {steps}"):
        noise_levels(steps)


def test_the_nearest_level_of_a_training_level_is_its_own():
    chosen = torch.tensor([0, 17, 999])
    assert torch.equal(nearest_level(training_levels()[chosen]), chosen)
    assert nearest_level(torch.tensor([100.0])) == 999


def test_an_exact_denoiser_of_one_image_leads_every_start_to_it(rng):
    image = torch.randn(1, 2, 3, 3, generator=rng)
    start = torch.randn(4, 2, 3, 3, generator=rng) * 14
    sampled = sample_euler(lambda x, _: image.expand_as(x), start, noise_levels(5))
    torch.testing.assert_close(sampled, image.expand_as(sampled), rtol=1e-4, atol=1e-5)


def test_an_exact_denoiser_of_normal_data_keeps_its_spread(rng):
    """Denoising x at level s then gives x / (1 + s^2); many steps meet the exact flow."""
    start = torch.randn(1, 1, 50, 50, generator=rng)
    sigmas = noise_levels(1000)
    begin = start * (1 + sigmas[0] ** 2).sqrt()
    sampled = sample_euler(lambda x, s: x / (1 + s.view(-1, 1, 1, 1) ** 2), begin, sigmas)
    torch.testing.assert_close(sampled, start, rtol=0.02, atol=0)


def test_guidance_extrapolates_and_at_scale_one_is_the_condition_s_own():
    x, s = torch.ones(1, 1, 1, 1), torch.ones(1)
    for scale, expected in ((1.0, 3.0), (5.0, 11.0), (0.0, 1.0)):
        denoise = guided(lambda x, _: 3 * x, lambda x, _: x, scale=scale)
        assert denoise(x, s).item() == expected
