"""Noise schedules and samplers, as functions of a network that predicts the clean sample.

A noise level is an index into ``alphas_cumprod``, the share of signal variance at each level; -1
is the clean sample. All randomness comes from the caller: the start, and a source of more noise.

The order of the arithmetic is that of the released code, because a sampler may amplify the last
bit of every step: an untrained network turns differences of 1e-7 into other samples.
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
"""Draws standard normal noise of the sample's shape."""


def cosine_alphas_cumprod(
    n_levels: int, *, offset: float = 0.008, largest_beta: float = 0.999
) -> Float[Tensor, " steps"]:
    r"""Return the share of signal variance at each noise level, falling along a squared cosine.

    :math:`\bar\alpha_t \propto \cos^2\left(\frac{t / T + s}{1 + s} \frac{\pi}{2}\right)`, with
    each level's own loss of signal limited to `largest_beta`.

    Parameters
    ----------
    n_levels
        Number of noise levels, at least 1.
    offset
        The small `s` that keeps the first level from being almost free of noise.
    largest_beta
        Largest share of the signal variance that one level may remove, below 1.

    Returns
    -------
    Tensor
        From near 1 to near 0, float64, on the CPU.

    Raises
    ------
    ValueError
        If there is no level.

    References
    ----------
    Nichol and Dhariwal 2021, "Improved Denoising Diffusion Probabilistic Models",
    arXiv:2102.09672, equation 17.
    """
    if n_levels < 1:
        raise ValueError(f"a diffusion needs at least 1 noise level, got {n_levels}.")
    t = torch.linspace(0, 1, n_levels + 1, dtype=torch.float64, device="cpu")
    curve = ((t + offset) / (1 + offset) * math.pi / 2).cos() ** 2
    kept = (curve[1:] / curve[:-1]).clamp(min=1 - largest_beta)
    return kept.cumprod(0)


def noise_source(
    like: Float[Tensor, "batch ..."],
    generator: torch.Generator | Sequence[torch.Generator],
) -> NoiseSource:
    """Make a source of noise for a batch.

    Parameters
    ----------
    like
        Gives shape, dtype and device of the noise.
    generator
        One for the batch, as released: what a row gets then depends on its place and on the size
        of the batch. Or one per row: each row then gets the same noise in whatever batch it is.

    Returns
    -------
    NoiseSource
        Draws in float32 on the generator's device, then moves.

    Raises
    ------
    ValueError
        If there is not one generator per row.
    """
    if isinstance(generator, torch.Generator):

        def draw() -> Tensor:
            noise = torch.randn(like.shape, generator=generator, device=generator.device)
            return noise.to(like)

        return draw
    rows = list(generator)
    if len(rows) != len(like):
        raise ValueError(
            f"there must be one generator per row of the batch, got {len(rows)} generators for "
            f"{len(like)} rows."
        )

    def draw_rows() -> Tensor:
        noise = [torch.randn(like.shape[1:], generator=g, device=g.device) for g in rows]
        return torch.stack(noise).to(like)

    return draw_rows


def released_levels(n_levels: int, n_steps: int) -> list[int]:
    """Return the noise levels that the released sampler visits, noisiest first.

    Its first level lies one stride below the noisiest, although it starts from pure noise, and
    `n_steps` levels mean ``n_steps - 1`` evaluations of the network.

    Parameters
    ----------
    n_levels
        Noise levels of the schedule.
    n_steps
        Levels to visit, including the clean one.

    Returns
    -------
    list of int
        Falling, the last is -1.

    Raises
    ------
    ValueError
        If `n_steps` is not between 2 and `n_levels`.
    """
    _check_steps(n_steps, smallest=2, largest=n_levels)
    # Rounded towards zero from float32, as released.
    levels = torch.linspace(-1.0, n_levels, n_steps + 1, device="cpu")[:-1]
    visited: list[int] = levels.int().flip(0).tolist()
    return visited


def even_levels(n_levels: int, n_steps: int) -> list[int]:
    """Return evenly spaced noise levels from the noisiest to the clean one.

    Parameters
    ----------
    n_levels
        Noise levels of the schedule.
    n_steps
        Evaluations of the network.

    Returns
    -------
    list of int
        ``n_steps + 1`` levels, falling, the last is -1.

    Raises
    ------
    ValueError
        If `n_steps` is not between 1 and `n_levels`.
    """
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
    draw: NoiseSource | None = None,
    shifted: bool = False,
) -> Float[Tensor, "batch ..."]:
    """Sample with DDIM, for a network that predicts the clean sample.

    Parameters
    ----------
    denoise
        The network, already conditioned.
    start
        Standard normal noise.
    alphas_cumprod
        Share of signal variance at each noise level.
    levels
        Noise levels to visit, falling; the last is -1.
    eta
        0 is the deterministic flow, 1 adds the noise of ancestral sampling at each step.
    draw
        Source of that noise; needed where `eta` is not 0.
    shifted
        Step as if each level were the next cleaner one, while the network is told the level
        itself. The released code does so, because it reads the wrong table.

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
    if eta and draw is None:
        raise ValueError(
            f"eta={eta} adds noise at each step; give its source as 'draw', or eta=0."
        )
    shares = torch.cat([alphas_cumprod, alphas_cumprod.new_ones(1)])  # so that level -1 is clean
    scale, spread = (1 / shares).sqrt().float(), (1 / shares - 1).sqrt().float()
    shares = (shares.roll(1) if shifted else shares).float()
    x = start
    for level, following in itertools.pairwise(levels):
        clean = denoise(x, level)
        if following < 0:
            return clean
        noise = (scale[level] * x - clean) / spread[level]
        now, then = shares[level], shares[following]
        fresh = eta * ((1 - now / then) * (1 - then) / (1 - now)).sqrt()
        x = clean * then.sqrt()
        if draw is not None and fresh > 0:
            x = x + fresh * draw()
        x = x + (1 - then - fresh.square()).sqrt() * noise
    return x


def sample_ddpm(
    denoise: Denoiser,
    start: Float[Tensor, "batch ..."],
    *,
    alphas_cumprod: Float[Tensor, " steps"],
    draw: NoiseSource,
) -> Float[Tensor, "batch ..."]:
    """Sample through all noise levels, each time from the posterior of the next cleaner one.

    Parameters
    ----------
    denoise
        The network, already conditioned.
    start
        Standard normal noise.
    alphas_cumprod
        Share of signal variance at each noise level.
    draw
        Source of the noise of each step.

    Returns
    -------
    Tensor
        Samples, in the dtype of `start`.

    References
    ----------
    Ho et al. 2020, "Denoising Diffusion Probabilistic Models", arXiv:2006.11239, equations 6, 7.
    """
    now = alphas_cumprod
    then = torch.cat([now.new_ones(1), now[:-1]])
    beta = 1 - now / then
    from_clean = (beta * then.sqrt() / (1 - now)).float()
    from_noisy = ((1 - then) * (1 - beta).sqrt() / (1 - now)).float()
    log_variance = (beta * (1 - then) / (1 - now)).clamp(min=1e-20).log().float()
    x = start
    for level in reversed(range(len(now))):
        x = from_clean[level] * denoise(x, level) + from_noisy[level] * x
        if level > 0:
            x = x + (0.5 * log_variance[level]).exp() * draw()
    return x
