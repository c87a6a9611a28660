"""One simulated subject: design, voxels and betas."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Shaped

from mindeye2.core.runtime import numpy_rng
from mindeye2.data.simulated.design import sample_trials
from mindeye2.data.simulated.noise import NoiseFractions, drift_and_offsets, noise_loadings
from mindeye2.data.simulated.receptive_fields import Fields, sample_fields
from mindeye2.data.simulated.simulated_voxels import HigherWeights, early_drive, higher_drive
from mindeye2.data.simulated.simulation_settings import SimulationSettings

__all__ = ["HIGHER", "SubjectTruth", "World", "simulate_subject"]

EARLY = {"V1": 0.3, "V2": 0.28, "V3": 0.24, "V4": 0.18}
"""Fraction of the early voxels in each area."""
HIGHER = {"ventral": 0.4, "lateral": 0.35, "parietal": 0.25}
"""Fraction of the higher visual voxels in each area."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectTruth:
    """The quantities that generated a subject's betas; for tests, never for decoding."""

    area: Shaped[np.ndarray, " voxels"]
    """Area of each voxel; V1 to V4 come first."""

    fields: Fields
    """Receptive fields in degrees; NaN outside V1 to V4."""

    weights: HigherWeights
    """Semantic weights of the higher voxels, in their order."""

    signal: Float32[np.ndarray, "images voxels"]
    """Noiseless response to every image, variance 1 over training and validation images."""

    mean: Float32[np.ndarray, " voxels"]
    """Percent signal change."""

    signal_sd: Float32[np.ndarray, " voxels"]
    """SD of the signal, percent signal change."""

    noise_sd: Float32[np.ndarray, " voxels"]
    """SD of the noise of one trial without the sessions' offsets, percent signal change."""

    loadings: Float32[np.ndarray, "voxels latent"]
    """Loadings on the noise latents, rows of length 1."""

    drift: Float32[np.ndarray, "trials voxels"]
    """Slow drift, percent signal change."""

    offsets: Float32[np.ndarray, "trials voxels"]
    """Offsets of runs and sessions, percent signal change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Stimulus features and area gains, shared by all subjects."""

    settings: SimulationSettings
    """The parameters."""

    split: Shaped[np.ndarray, " images"]
    """Split of each image."""

    fit: Bool[np.ndarray, " images"]
    """Training and validation images: responses are standardised over these."""

    energies: Float32[np.ndarray, "images maps height width"]
    """Gabor energies with mean 1 in each map."""

    colours: Float32[np.ndarray, "images 3 height width"]
    """Luminance and opponent colours."""

    shared_components: Float32[np.ndarray, "images components"]
    """Scores on the semantic components that all subjects share."""

    other_components: Float32[np.ndarray, "images features"]
    """Scores on further components."""

    gains: dict[str, Float[np.ndarray, " components"]]
    """SD of the weights on the shared components in each higher area."""


def simulate_subject(
    world: World, subject: str, *, seed: int
) -> tuple[pd.DataFrame, Float32[np.ndarray, "trials voxels"], SubjectTruth]:
    """Simulate trials, betas (percent signal change) and ground truth of one subject."""
    settings = world.settings
    trials = sample_trials(
        world.split,
        numpy_rng(seed, "simulated", "design", subject),
        sessions=settings.sessions,
        trials_per_session=settings.trials_per_session,
        runs=settings.runs_per_session,
        repeat_fractions=settings.repeat_fractions,
        same_session=settings.same_session,
        test_repeats=settings.test_repeats,
    )
    area, fields, weights, signal = _sample_signal(
        world, numpy_rng(seed, "simulated", "voxels", subject)
    )
    rng = numpy_rng(seed, "simulated", "noise", subject)
    n_voxels = len(area)
    fractions = NoiseFractions(
        correlated=settings.correlated_fraction,
        drift=settings.drift_fraction,
        run=settings.run_fraction,
    )
    ratio = _sample_ncsnr(area, rng, settings=settings)
    total = settings.response_sd * np.exp(0.3 * rng.standard_normal(n_voxels))
    noise_sd = (total / np.sqrt(1 + ratio**2)).astype(np.float32)
    signal_sd = (ratio * noise_sd).astype(np.float32)
    mean = (1 + 0.7 * rng.standard_normal(n_voxels)).astype(np.float32)
    loadings = noise_loadings(signal[world.fit], rng, n_latents=settings.noise_latents)
    drift, offsets = drift_and_offsets(
        trials, rng, n_voxels=n_voxels, fractions=fractions, session_offset=settings.session_offset
    )
    white = max(0.0, 1 - fractions.correlated - fractions.drift - fractions.run)
    latents = rng.standard_normal((len(trials), loadings.shape[1]), dtype=np.float32)
    noise = np.float32(np.sqrt(fractions.correlated)) * (latents @ loadings.T)
    noise += np.float32(np.sqrt(white)) * rng.standard_normal(noise.shape, dtype=np.float32)
    noise += drift + offsets
    betas = mean + signal_sd * signal[trials["image"].to_numpy()] + noise_sd * noise
    truth = SubjectTruth(
        area=area,
        fields=fields,
        weights=weights,
        signal=signal,
        mean=mean,
        signal_sd=signal_sd,
        noise_sd=noise_sd,
        loadings=loadings,
        drift=noise_sd * drift,
        offsets=noise_sd * offsets,
    )
    return trials, betas, truth


def _sample_signal(
    world: World, rng: np.random.Generator
) -> tuple[
    Shaped[np.ndarray, " voxels"], Fields, HigherWeights, Float32[np.ndarray, "images voxels"]
]:
    """Sample the voxels of a subject, and their noiseless responses."""
    settings = world.settings
    n_voxels = int(rng.integers(settings.min_voxels, settings.max_voxels + 1))
    n_early = round(settings.early_fraction * n_voxels)
    early = _split_areas(EARLY, n_early)
    higher = _split_areas(HIGHER, n_voxels - n_early)
    fields = sample_fields(early, rng, extent=settings.extent, scatter=settings.field_scatter)
    low = early_drive(
        world.energies,
        world.colours,
        fields,
        rng=rng,
        fit=world.fit,
        extent=settings.extent,
        exponent=settings.exponent,
        tuning=settings.tuning,
        colour_voxels=settings.colour_voxels,
        colour_fraction=settings.colour_fraction,
    )
    high, weights = higher_drive(
        world.shared_components,
        world.other_components,
        gains=world.gains,
        areas=higher,
        rng=rng,
        fit=world.fit,
        n_own=settings.own_components,
        own_fraction=settings.own_fraction,
        nonlinearity=settings.voxel_nonlinearity,
    )
    missing = np.full(len(higher), np.nan, dtype=np.float32)
    all_fields = Fields(
        x=np.concatenate([fields.x, missing]),
        y=np.concatenate([fields.y, missing]),
        size=np.concatenate([fields.size, missing]),
    )
    area = np.concatenate([early, higher])
    return area, all_fields, weights, np.concatenate([low, high], axis=1)


def _split_areas(fractions: dict[str, float], n: int) -> Shaped[np.ndarray, " voxels"]:
    """Return `n` area names by their fractions, in the order of `fractions`."""
    ends = np.round(np.cumsum(list(fractions.values())) * n).astype(int)
    return np.repeat(np.array(list(fractions), dtype="<U8"), np.diff(ends, prepend=0))


def _sample_ncsnr(
    area: Shaped[np.ndarray, " voxels"], rng: np.random.Generator, *, settings: SimulationSettings
) -> Float[np.ndarray, " voxels"]:
    """Sample ncsnr; the gain of early areas does not change the mean level over all voxels."""
    early = np.isin(area, list(EARLY))
    level = settings.early_gain ** (early - early.mean())
    subject = np.exp(settings.subject_sigma * rng.standard_normal())
    spread = np.exp(settings.ncsnr_sigma * rng.standard_normal(len(area)))
    ratio: Float[np.ndarray, " voxels"] = settings.ncsnr_median * subject * level * spread
    return ratio
