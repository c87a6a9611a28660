"""Stable Diffusion's noise schedule, and Euler sampling with a denoiser.

A noise level is a standard deviation, sigma, of the noise on unit-variance latents. The schedule
is that of Stable Diffusion's training ("legacy DDPM"): 1000 levels from .03 to 14.6.
"""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = [
    "N_LEVELS",
    "LatentDenoiser",
    "guided",
    "nearest_level",
    "noise_levels",
    "sample_euler",
    "training_levels",
]

N_LEVELS = 1000
"""Noise levels of Stable Diffusion's training."""


LatentDenoiser = Callable[
    [Float[Tensor, "batch channels height width"], Float[Tensor, " batch"]],
    Float[Tensor, "batch channels height width"],
]
"""Predicts clean latents from noisy ones and their noise levels."""


def training_levels() -> Float[Tensor, " steps"]:
    r"""Compute the noise levels of training, rising.

    :math:`\sigma_t = \sqrt{(1 - \bar\alpha_t) / \bar\alpha_t}` with betas whose square roots are
    evenly spaced from :math:`\sqrt{.00085}` to :math:`\sqrt{.012}`.

    Returns
    -------
    Tensor
        `N_LEVELS` standard deviations, float32, on the CPU.

    References
    ----------
    Rombach et al. 2022, "Latent Diffusion Models", arXiv:2112.10752.
    """
    return _sigmas(torch.arange(N_LEVELS, device="cpu"))


def noise_levels(steps: int) -> Float[Tensor, " steps"]:
    """Select the noise levels of a sampler: ``steps + 1`` standard deviations, falling to 0."""
    if not 1 <= steps <= N_LEVELS:
        raise ValueError(f"steps must be from 1 to {N_LEVELS}, got {steps}.")
    # NumPy's own rounding decides some levels, as it did in the released code.
    times = torch.from_numpy(np.linspace(N_LEVELS - 1, 0, steps, endpoint=False).astype(np.int64))
    return torch.cat([_sigmas(times), torch.zeros(1, device="cpu")])


def _sigmas(times: Int[Tensor, " steps"]) -> Float[Tensor, " steps"]:
    ends = (0.00085**0.5, 0.012**0.5)
    betas = torch.linspace(*ends, N_LEVELS, dtype=torch.float64, device="cpu") ** 2
    alphas = (1 - betas).cumprod(0)[times]
    return ((1 - alphas) / alphas).float().sqrt()


def nearest_level(sigma: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """Find the training level nearest to each noise level: the U-Net's time step."""
    distance = (training_levels().to(sigma.device)[:, None] - sigma.float()).abs()
    return distance.argmin(dim=0)


def guided(
    conditional: LatentDenoiser, unconditional: LatentDenoiser, *, scale: float
) -> LatentDenoiser:
    """Apply classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598).

    A `scale` of 1 gives the conditional prediction.
    """

    def denoise(latents: Tensor, sigma: Tensor) -> Tensor:
        without = unconditional(latents, sigma)
        return without + scale * (conditional(latents, sigma) - without)

    return denoise


def sample_euler(
    denoise: LatentDenoiser,
    latents: Float[Tensor, "batch channels height width"],
    sigmas: Float[Tensor, " steps"],
) -> Float[Tensor, "batch channels height width"]:
    """Integrate the probability flow from noise to clean latents, one Euler step per level.

    Karras et al. 2022, arXiv:2206.00364, algorithm 2 without churn; `sigmas` fall to 0.
    """
    for sigma, lower in itertools.pairwise(sigmas):
        level = sigma.to(latents).expand(len(latents))
        slope = (latents - denoise(latents, level)) / sigma.to(latents)
        latents = latents + slope * (lower - sigma).to(latents)
    return latents
