"""Noise of simulated trials: correlated across voxels, slow drift, run and session offsets."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy
from jaxtyping import Float32

__all__ = ["NoiseFractions", "drift_and_offsets", "noise_loadings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFractions:
    """Fractions of a voxel's noise variance; the rest is independent between trials."""

    correlated: float
    """Common to voxels, through latents."""

    drift: float
    """Slow, within a session."""

    run: float
    """Constant in a run."""


def noise_loadings(
    signal: Float32[np.ndarray, "images voxels"],
    rng: np.random.Generator,
    *,
    n_latents: int,
) -> Float32[np.ndarray, "voxels latent"]:
    """Return unit-norm loadings on noise latents, half of them along the signal's components."""
    n_voxels = signal.shape[1]
    n_signal = min(n_latents // 2, min(signal.shape) - 1)
    groups = []
    if n_signal:
        # Of thousands of components the first few are wanted: Lanczos instead of a decomposition.
        start = np.ones(min(signal.shape), dtype=signal.dtype)
        _, sds, components = scipy.sparse.linalg.svds(
            signal, k=n_signal, v0=start, return_singular_vectors="vh"
        )
        components *= np.sign(components[np.arange(n_signal), np.abs(components).argmax(axis=1)])[
            :, None
        ]
        groups.append(components.T * sds / np.sqrt(len(signal)))
    if n_latents > n_signal:
        groups.append(rng.standard_normal((n_voxels, n_latents - n_signal)))
    rows = np.concatenate([p / np.linalg.norm(p, axis=1, keepdims=True) for p in groups], axis=1)
    loadings: Float32[np.ndarray, "voxels latent"]
    loadings = (rows / np.sqrt(len(groups))).astype(np.float32)
    return loadings


def drift_and_offsets(
    trials: pd.DataFrame,
    rng: np.random.Generator,
    *,
    n_voxels: int,
    fractions: NoiseFractions,
    session_offset: float,
) -> tuple[Float32[np.ndarray, "trials voxels"], Float32[np.ndarray, "trials voxels"]]:
    """Sample slow drift, and offsets of runs and sessions, in units of a voxel's noise SD."""
    drift = np.empty((len(trials), n_voxels), dtype=np.float32)
    offsets = np.empty_like(drift)
    for rows in trials.groupby("session").indices.values():
        time = (np.arange(len(rows)) + 0.5) / len(rows)
        slow = np.cos(np.pi * np.outer(time, [1, 2]))  # each of mean square 1/2
        drift[rows] = slow @ (np.sqrt(fractions.drift) * rng.standard_normal((2, n_voxels)))
        runs, run = np.unique(trials["run"].to_numpy()[rows], return_inverse=True)
        means = np.sqrt(fractions.run) * rng.standard_normal((len(runs), n_voxels))
        offsets[rows] = means[run] + session_offset * rng.standard_normal(n_voxels)
    return drift, offsets
