"""Samplers on data whose best denoiser is known, and against textbook formulas."""

import math

import pytest
import torch

from mindeye2.models.diffusion import (
    cosine_alphas_cumprod,
    even_levels,
    noise_source,
    released_levels,
    sample_ddim,
    sample_ddpm,
)

ALPHAS = cosine_alphas_cumprod(100)
SPREAD = 0.7


def best_guess(x, level):
    """Return the mean of clean data, normal with standard deviation SPREAD, given noisy data."""
    a = float(ALPHAS[level])
    return math.sqrt(a) * SPREAD**2 / (a * SPREAD**2 + 1 - a) * x


def test_the_schedule_follows_the_cosine_until_its_last_step():
    def curve(t):
        return math.cos((t / 100 + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = [curve(t + 1) / curve(0) for t in range(99)]
    torch.testing.assert_close(ALPHAS[:99], torch.tensor(expected, dtype=torch.float64))
    assert ALPHAS[99] == pytest.approx(float(ALPHAS[98]) * 0.001)


def test_levels_fall_to_the_clean_one():
    assert released_levels(100, 20)[:3] == [94, 89, 84]
    assert len(released_levels(100, 20)) == 20
    assert even_levels(100, 4) == [99, 74, 49, 24, -1]
    assert even_levels(100, 1) == [99, -1]
    assert even_levels(100, 100) == list(range(99, -2, -1))


@pytest.mark.parametrize(("levels", "smallest"), [(released_levels, 2), (even_levels, 1)])
def test_impossible_step_counts_are_refused(levels, smallest):
    for steps in (smallest - 1, 101):
        with pytest.raises(
            ValueError, match=rf"steps must be in \[{smallest}, 100\], got {steps}"
        ):
            levels(100, steps)


def test_ddim_without_noise_follows_the_exact_flow(rng):
    """The flow of normal data only rescales the noise; many small steps come close to it."""
    alphas = cosine_alphas_cumprod(1000)

    def denoise(x, level):
        a = float(alphas[level])
        return math.sqrt(a) * SPREAD**2 / (a * SPREAD**2 + 1 - a) * x

    start = torch.randn(4, 2, 3, generator=rng)
    got = sample_ddim(denoise, start, alphas_cumprod=alphas, levels=even_levels(1000, 1000))
    torch.testing.assert_close(got, SPREAD * start, rtol=0.01, atol=0)


def test_ddim_with_noise_takes_the_steps_of_equation_12(rng):
    levels, eta = [80, 45, 10, -1], 0.6
    start, *fresh = torch.randn(3, 2, 3, generator=rng, dtype=torch.float64)
    x = start
    for t, s, extra in zip(levels[:-1], levels[1:], [*fresh, torch.zeros(2, 3)], strict=True):
        a, b = float(ALPHAS[t]), 1.0 if s < 0 else float(ALPHAS[s])
        sigma = eta * math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)
        clean = best_guess(x, t)
        eps = (x - math.sqrt(a) * clean) / math.sqrt(1 - a)
        x = math.sqrt(b) * clean + math.sqrt(1 - b - sigma**2) * eps + sigma * extra
    noise = iter(fresh)
    got = sample_ddim(
        best_guess,
        start,
        alphas_cumprod=ALPHAS,
        levels=levels,
        eta=eta,
        noise=lambda: next(noise),
    )
    torch.testing.assert_close(got, x, rtol=1e-5, atol=1e-6)


def test_ddpm_samples_the_product_of_prior_and_likelihood(rng):
    """Each step's distribution is that of Bayes' rule for two normals."""
    samples = torch.randn(8, 4, generator=rng, dtype=torch.float64)
    alphas, x = ALPHAS[[5, 20, 40, 60, 70, 80, 95]], samples[0]
    for t in reversed(range(7)):
        now, before = float(alphas[t]), float(alphas[t - 1]) if t else 1.0
        step = now / before
        clean = 0.3 * x
        if t == 0:
            x = clean
            break
        precision = step / (1 - step) + 1 / (1 - before)
        mean = (math.sqrt(step) * x / (1 - step) + math.sqrt(before) * clean / (1 - before)) / (
            precision
        )
        x = mean + samples[7 - t] / math.sqrt(precision)
    noise = iter(samples[1:])
    got = sample_ddpm(
        lambda x, _: 0.3 * x, samples[0], alphas_cumprod=alphas, noise=lambda: next(noise)
    )
    torch.testing.assert_close(got, x, rtol=1e-5, atol=1e-6)


def test_the_released_steps_lose_spread_and_even_levels_less(rng):
    start = torch.randn(50_000, 1, generator=rng)
    noise = noise_source(start, rng)
    released = sample_ddim(
        best_guess,
        start,
        alphas_cumprod=ALPHAS,
        levels=released_levels(100, 20),
        eta=1.0,
        noise=noise,
        shifted=True,
    )
    even = sample_ddim(best_guess, start, alphas_cumprod=ALPHAS, levels=even_levels(100, 20))
    assert released.std() / SPREAD == pytest.approx(0.83, abs=0.02)
    assert even.std() / SPREAD == pytest.approx(0.94, abs=0.02)


def test_a_generator_per_row_makes_rows_independent_of_the_batch(rng):
    def seeded(*seeds):
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    like = torch.zeros(3, 2, 2)
    together = noise_source(like, seeded(1, 2, 3))()
    assert torch.equal(noise_source(like[:1], seeded(2))()[0], together[1])
    assert noise_source(like, rng)().shape == like.shape
    with pytest.raises(ValueError, match="got 2 generators for 3 rows"):
        noise_source(like, seeded(1, 2))


def test_noise_without_a_source_is_refused():
    with pytest.raises(ValueError, match=r"eta=0.5 adds noise"):
        sample_ddim(best_guess, torch.zeros(2, 2), alphas_cumprod=ALPHAS, levels=[99, -1], eta=0.5)


def test_a_schedule_needs_a_level():
    with pytest.raises(ValueError, match="at least 1 noise level, got 0"):
        cosine_alphas_cumprod(0)
