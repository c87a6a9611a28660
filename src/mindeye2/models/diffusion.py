"""Noise schedules and samplers, as functions of a network that predicts the clean sample.

A noise level is an index into ``alphas_cumprod``, the fraction of signal variance at each level;
-1 is the clean sample. The caller supplies all noise.

The order of the arithmetic is that of the released code, because an untrained network amplifies
differences of 1e-7 in each step to other samples.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "Denoiser",
    "NoiseSource",
    "cosine_alphas_cumprod",
    "even_levels",
    "noise_source",
    "released_levels",
    "sample_ddim",
    "sample_ddpm",
]

Denoiser = Callable[[Float[Tensor, "batch ..."], int], Float[Tensor, "batch ..."]]
"""Predicts the clean sample from the noisy one and its noise level."""

NoiseSource = Callable[[], Float[Tensor, "batch ..."]]
"""Samples standard normal noise of the sample's shape."""


def cosine_alphas_cumprod(
    n_levels: int, *, offset: float = 0.008, largest_beta: float = 0.999
) -> Float[Tensor, " steps"]:
    r"""Return the fraction of signal variance at each noise level of the cosine schedule, float64.

    :math:`\bar\alpha_t \propto \cos^2\left(\frac{t / T + s}{1 + s} \frac{\pi}{2}\right)`, where
    the `offset` s keeps the first level from being almost free of noise, and one level removes at
    most `largest_beta` of the signal variance (Nichol and Dhariwal 2021, arXiv:2102.09672,
    equation 17).
    """
    if n_levels < 1:
        raise ValueError(f"a diffusion needs at least 1 noise level, got {n_levels}.")
    t = torch.linspace(0, 1, n_levels + 1, dtype=torch.float64, device="cpu")
    curve = ((t + offset) / (1 + offset) * math.pi / 2).cos() ** 2
    alphas = (curve[1:] / curve[:-1]).clamp(min=1 - largest_beta)
    return alphas.cumprod(0)


def noise_source(
    like: Float[Tensor, "batch ..."],
    generator: torch.Generator | Sequence[torch.Generator],
) -> NoiseSource:
    """Make a source of standard normal noise of the shape, dtype and device of `like`.

    With one generator for the batch, as released, the noise of a row depends on its index and on
    the batch size. With one per row it is the same in any batch. Noise is sampled in float32 on
    the generator's device.
    """
    if isinstance(generator, torch.Generator):

        def sample() -> Tensor:
            noise = torch.randn(like.shape, generator=generator, device=generator.device)
            return noise.to(like)

        return sample
    rows = list(generator)
    if len(rows) != len(like):
        raise ValueError(
            f"there must be one generator per row of the batch, got {len(rows)} generators for "
            f"{len(like)} rows."
        )

    def sample_rows() -> Tensor:
        noise = [torch.randn(like.shape[1:], generator=g, device=g.device) for g in rows]
        return torch.stack(noise).to(like)

    return sample_rows


def released_levels(n_levels: int, n_steps: int) -> list[int]:
    """Return the `n_steps` noise levels of the released sampler, noisiest first, the last -1.

    Its first level lies one stride below the noisiest, although it starts from pure noise, and
    `n_steps` levels mean ``n_steps - 1`` evaluations of the network.
    """
    _check_steps(n_steps, smallest=2, largest=n_levels)
    # Rounded towards zero from float32, as released.
    levels = torch.linspace(-1.0, n_levels, n_steps + 1, device="cpu")[:-1]
    visited: list[int] = levels.int().flip(0).tolist()
    return visited


def even_levels(n_levels: int, n_steps: int) -> list[int]:
    """Return ``n_steps + 1`` evenly spaced noise levels, noisiest first, the last -1."""
    _check_steps(n_steps, smallest=1, largest=n_levels)
    return [round(n_levels * i / n_steps) - 1 for i in range(n_steps, -1, -1)]


def _check_steps(n_steps: int, *, smallest: int, largest: int) -> None:
    if not smallest <= n_steps <= largest:
        raise ValueError(f"steps must be in [{smallest}, {largest}], got {n_steps}.")


def sample_ddim(
    denoise: Denoiser,
    start: Float[Tensor, "batch ..."],
    *,
    alphas_cumprod: Float[Tensor, " steps"],
    levels: Sequence[int],
    eta: float = 0.0,
    noise: NoiseSource | None = None,
    shifted: bool = False,
) -> Float[Tensor, "batch ..."]:
    """Sample with DDIM, for a network that predicts the clean sample.

    Parameters
    ----------
    denoise
        The network, with its condition.
    start
        Standard normal noise.
    alphas_cumprod
        Fraction of signal variance at each noise level.
    levels
        Noise levels to visit, falling; the last is -1.
    eta
        0 is the deterministic flow, 1 adds the noise of ancestral sampling at each step.
    noise
        Source of that noise; needed where `eta` is not 0.
    shifted
        Compute each step as if its level were the next cleaner one, while the network gets the
        level itself. The released code does so, because it indexes the wrong table.

    Returns
    -------
    Tensor
        Samples, in the dtype of `start`.

    Raises
    ------
    ValueError
        If `eta` is not 0 and there is no source of noise.

    References
    ----------
    Song et al. 2021, "Denoising Diffusion Implicit Models", arXiv:2010.02502, equations 12 and 16.
    """
    if eta and noise is None:
        raise ValueError(
            f"eta={eta} adds noise at each step; give its source as 'noise', or eta=0."
        )
    alphas = torch.cat([alphas_cumprod, alphas_cumprod.new_ones(1)])  # so that level -1 is clean
    scale, spread = (1 / alphas).sqrt().float(), (1 / alphas - 1).sqrt().float()
    alphas = (alphas.roll(1) if shifted else alphas).float()
    x = start
    for level, next_level in itertools.pairwise(levels):
        clean = denoise(x, level)
        if next_level < 0:
            return clean
        direction = (scale[level] * x - clean) / spread[level]
        alpha, next_alpha = alphas[level], alphas[next_level]
        sigma = eta * ((1 - alpha / next_alpha) * (1 - next_alpha) / (1 - alpha)).sqrt()
        x = clean * next_alpha.sqrt()
        if noise is not None and sigma > 0:
            x = x + sigma * noise()
        x = x + (1 - next_alpha - sigma.square()).sqrt() * direction
    return x


def sample_ddpm(
    denoise: Denoiser,
    start: Float[Tensor, "batch ..."],
    *,
    alphas_cumprod: Float[Tensor, " steps"],
    noise: NoiseSource,
) -> Float[Tensor, "batch ..."]:
    """Sample from standard normal `start` through all noise levels, noisiest first.

    Each step samples the posterior of the next cleaner level (Ho et al. 2020, arXiv:2006.11239,
    equations 6 and 7).
    """
    alpha = alphas_cumprod
    next_alpha = torch.cat([alpha.new_ones(1), alpha[:-1]])
    beta = 1 - alpha / next_alpha
    from_clean = (beta * next_alpha.sqrt() / (1 - alpha)).float()
    from_noisy = ((1 - next_alpha) * (1 - beta).sqrt() / (1 - alpha)).float()
    log_variance = (beta * (1 - next_alpha) / (1 - alpha)).clamp(min=1e-20).log().float()
    x = start
    for level in reversed(range(len(alpha))):
        x = from_clean[level] * denoise(x, level) + from_noisy[level] * x
        if level > 0:
            x = x + (0.5 * log_variance[level]).exp() * noise()
    return x
