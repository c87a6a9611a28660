"""Simulated people: betas as in the Natural Scenes Dataset, for pictures that nobody has to scan.

**Nobody was scanned.** Whatever is decoded from these betas shows that the pipeline works, not that
a brain can be read.

Signal of a voxel v for image i, standardised (mean 0, variance 1) over the training and validation
images, where E_m are Gabor energies, C_c luminance and two opponent colours, G_v the voxel's
receptive field (`mindeye2.data.receptive_fields`), z_a the scores of the image's semantic features
on their principal axes, and std(.) standardises::

    V1..V4      s = sqrt(1 - q) std((sum_m w_vm <G_v, E_m>)^n) + sqrt(q) std(sum_c u_vc <G_v, C_c>)
    higher      s = bend(sqrt(1 - p) std(sum_a W_va h_a) + sqrt(p) std(sum_b U_vb y_b))
                h_a = bend(z_a)                         axes that all people share
                y_b = sum_a D_ab z_a                    the person's own axes, D orthonormal
                bend(u) = std((1 - k) u + k |u|)        k = 0 by default: linear

w log-normal, u, W and U normal; the variances of W along the axes follow the axes' own variances to
the power `spectrum` and a gain of each area. A beta, in percent signal change::

    beta = mean_v + S_v s_v(image) + N_v (e + drift + offsets)
    e    = sqrt(c) L_v z + sqrt(1 - c - d - r) white     z: latents of a trial; rows of L have length 1

S_v / N_v is the voxel's ncsnr, log-normal around the median of its area. N_v covers white noise,
correlated noise (share c), drift (share d) and the runs' offsets (share r); the sessions' offsets
come on top, since z-scoring within sessions takes them out. Half of the noise latents load on the
voxels as the signal's leading axes do, so that averaging voxels does not remove them.

Noise level. Allen et al. report 36 % for responses averaged over three trials: the median over the
nsdgeneral ROI, averaged over participants, for their best betas (b3, on the surface). By their
definition this is ncsnr = sqrt(.36 / .64 / 3) = .433 and a ceiling of 15.8 % for one trial, and these
are what the defaults give when measured by NSD's method from the simulated repeats. For b2, which
MindEye2 reads, the paper gives bars lower than b3's, not numbers: lower `ncsnr_median` to be
pessimistic. What is a guess: the spread over voxels and people, the shares of the noise, the
share of the own axes.

References
----------
Allen et al. 2022, "A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial
intelligence", Nature Neuroscience 25:116-126, doi:10.1038/s41593-021-00962-x.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Shaped, UInt8
from pydantic import Field, model_validator

from mindeye2.core.errors import check_choice
from mindeye2.core.runtime import numpy_rng
from mindeye2.core.settings import Settings
from mindeye2.data.betas import zscore_by_session
from mindeye2.data.receptive_fields import Fields, draw_fields, low_level_maps
from mindeye2.data.reliability import ncsnr, noise_ceiling
from mindeye2.data.simulated_voxels import (
    HigherWeights,
    NoiseShares,
    drift_and_offsets,
    early_drive,
    higher_drive,
    noise_loadings,
    principal_axes,
    rectify,
)
from mindeye2.data.trial_design import draw_trials

__all__ = ["SimulatedStudy", "SimulationSettings", "SubjectTruth", "simulate"]

SPLITS = ("train", "validation", "test")
EARLY = {"V1": 0.3, "V2": 0.28, "V3": 0.24, "V4": 0.18}
"""Share of the early voxels in each area."""
HIGHER = {"ventral": 0.4, "lateral": 0.35, "parietal": 0.25}
"""Share of the higher visual voxels in each area."""


class SimulationSettings(Settings):
    """Every parameter of the equations."""

    n_subjects: int = Field(default=8, ge=1, le=99)
    """People, "subj01" onwards. A person does not change when others are added."""

    min_voxels: int = Field(default=800, ge=8)
    """Fewest voxels of a person."""

    max_voxels: int = Field(default=1300, ge=8)
    """Most voxels of a person."""

    sessions: int = Field(default=3, ge=1)
    """Sessions of each person."""

    trials_per_session: int = Field(default=300, ge=2)
    """Trials of training and validation images in a session; test trials come on top."""

    runs_per_session: int = Field(default=8, ge=1)
    """Runs of a session."""

    repeat_shares: tuple[float, ...] = Field(default=(0.5, 0.35, 0.15), min_length=1)
    """Share of a person's images that are shown once, twice, three times."""

    same_session: float = Field(default=0.4, ge=0, le=1)
    """Probability that the next presentation of an image falls into the same session."""

    test_repeats: int = Field(default=3, ge=1)
    """Presentations of each test image over all sessions."""

    extent: float = Field(default=8.4, gt=0)
    """Width of an image in degrees of visual angle; NSD's are 8.4."""

    orientations: int = Field(default=6, ge=1)
    """Orientations of the Gabors."""

    cycles_per_degree: tuple[float, ...] = Field(default=(0.5, 1.0, 2.0), min_length=1)
    """Spatial frequencies of the Gabors."""

    early_share: float = Field(default=0.55, ge=0, le=1)
    """Share of the voxels in V1 to V4; the rest is higher visual."""

    field_scatter: float = Field(default=0.2, ge=0)
    """SD of the logarithm of receptive-field sizes around their area's line."""

    exponent: float = Field(default=0.5, gt=0)
    """Compression n of the energy under a receptive field."""

    tuning: float = Field(default=1.0, ge=0)
    """SD of the logarithm of an early voxel's weights over the Gabor maps."""

    colour_voxels: float = Field(default=0.5, ge=0, le=1)
    """Share of the early voxels that also answer to local luminance and colour."""

    colour_share: float = Field(default=0.5, ge=0, le=1)
    """Share q of these voxels' variance that luminance and colour drive."""

    shared_axes: int = Field(default=60, ge=1)
    """Leading semantic axes that all people share; fewer where images or features are few."""

    other_axes: int = Field(default=60, ge=0)
    """Further semantic axes, out of which each person's own axes are made."""

    own_axes: int = Field(default=12, ge=0)
    """Own axes of a person."""

    own_share: float = Field(default=0.3, ge=0, le=1)
    """Share p of a higher voxel's variance that the person's own axes drive."""

    spectrum: float = Field(default=0.5, ge=0)
    """Power of the axes' variances in the variances of the weights: 0 white, 1 as the features."""

    area_gain: float = Field(default=0.5, ge=0)
    """SD of the logarithm of an area's gains on the shared axes; the same in all people."""

    axis_nonlinearity: float = Field(default=0.0, ge=0, le=1)
    """Rectification k of the shared axes, the same in all people."""

    voxel_nonlinearity: float = Field(default=0.0, ge=0, le=1)
    """Rectification k of each higher voxel: 0.5 is half-wave, 1 loses the sign."""

    ncsnr_median: float = Field(default=0.433, gt=0)
    """Median over voxels of signal SD to noise SD of one trial; .433 is a ceiling of 36 % for three
    trials (Allen et al. 2022, b3, nsdgeneral)."""

    early_gain: float = Field(default=1.1, gt=0)
    """Median ncsnr of V1 to V4 over that of the higher areas."""

    ncsnr_sigma: float = Field(default=0.5, ge=0)
    """SD of the logarithm of ncsnr over the voxels of a person."""

    subject_sigma: float = Field(default=0.1, ge=0)
    """SD of the logarithm of ncsnr over people."""

    correlated_share: float = Field(default=0.3, ge=0, le=1)
    """Share c of the noise variance that voxels have in common."""

    noise_latents: int = Field(default=20, ge=1)
    """Latents of the common noise; half of them load like the signal's leading axes."""

    drift_share: float = Field(default=0.05, ge=0, le=1)
    """Share d of the noise variance that drifts slowly within a session."""

    run_share: float = Field(default=0.02, ge=0, le=1)
    """Share r of the noise variance between the means of runs."""

    session_offset: float = Field(default=0.5, ge=0)
    """SD of a voxel's mean over sessions, in units of its noise SD."""

    response_sd: float = Field(default=1.5, gt=0)
    """Median SD of a voxel's single-trial betas, percent signal change."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_voxels > self.max_voxels:
            raise ValueError(
                f"min_voxels ({self.min_voxels}) is above max_voxels ({self.max_voxels})."
            )
        if min(self.repeat_shares) < 0 or sum(self.repeat_shares) <= 0:
            raise ValueError(
                f"repeat_shares must be at least 0 and not all 0, got {self.repeat_shares}."
            )
        shares = self.correlated_share + self.drift_share + self.run_share
        if shares > 1:
            raise ValueError(
                "correlated_share, drift_share and run_share are shares of one noise variance and "
                f"must sum to at most 1, got {shares:g}."
            )
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectTruth:
    """The quantities that generated one person's betas; for tests, never for decoding."""

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
class SimulatedStudy:
    """Trials and betas of simulated people."""

    trials: pd.DataFrame
    """Columns subject, session, run, trial, image, source_image, repeat, split; row n of a
    subject's trials is row n of its betas."""

    betas: dict[str, Float32[np.ndarray, "trials voxels"]]
    """Percent signal change by subject, not z-scored."""

    voxels: dict[str, pd.DataFrame]
    """By subject: position i, j, k on a made-up grid, roi, and what the repeats of training and
    validation images measure: ncsnr, noise_ceiling_1 and noise_ceiling_3 (percent; NaN where no
    image is repeated)."""

    truth: dict[str, SubjectTruth]
    """By subject: what generated the betas."""

    axes: Float32[np.ndarray, "images axes"]
    """Scores of the images on the shared semantic axes."""

    label: str = "simulated"
    """To be shown wherever these people appear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """What all people have in common."""

    settings: SimulationSettings
    split: Shaped[np.ndarray, " images"]
    fit: Bool[np.ndarray, " images"]
    energies: Float32[np.ndarray, "images maps height width"]
    colours: Float32[np.ndarray, "images 3 height width"]
    shared_axes: Float32[np.ndarray, "images axes"]
    other_axes: Float32[np.ndarray, "images features"]
    gains: dict[str, Float[np.ndarray, " axes"]]


def simulate(
    images: UInt8[np.ndarray, "images height width rgb"],
    semantic: Float32[np.ndarray, "images features"],
    split: Sequence[str] | Shaped[np.ndarray, " images"],
    *,
    settings: SimulationSettings | None = None,
    seed: int,
) -> SimulatedStudy:
    """Simulate people who look at images.

    Parameters
    ----------
    images
        RGB images; anything that slices like an array will do.
    semantic
        Features of each image for the higher visual areas, of a network that is not the decoder's
        target encoder.
    split
        ``"train"``, ``"validation"`` or ``"test"`` for each image.
    settings
        The parameters; the defaults if None.
    seed
        Seed of the world: people, designs and noise.

    Returns
    -------
    SimulatedStudy
        Trials, betas, voxels and the truth behind them.

    Raises
    ------
    ValueError
        If the lengths disagree, a split is unknown, the features are not finite, or there are too
        few images for the trials.
    """
    world = _build_world(images, semantic, split, settings or SimulationSettings(), seed=seed)
    tables, betas, voxels, truth = [], {}, {}, {}
    for k in range(1, world.settings.n_subjects + 1):
        subject = f"subj{k:02d}"
        trials, betas[subject], truth[subject] = _simulate_subject(world, subject, seed=seed)
        trials.insert(0, "subject", subject)
        trials.insert(5, "source_image", trials["image"])
        rng = numpy_rng(seed, "simulated", "positions", subject)
        voxels[subject] = _voxel_table(betas[subject], trials, truth[subject].area, rng)
        tables.append(trials)
    return SimulatedStudy(
        trials=pd.concat(tables, ignore_index=True),
        betas=betas,
        voxels=voxels,
        truth=truth,
        axes=world.shared_axes,
    )


def _build_world(
    images: UInt8[np.ndarray, "images height width rgb"],
    semantic: Float32[np.ndarray, "images features"],
    split: Sequence[str] | Shaped[np.ndarray, " images"],
    settings: SimulationSettings,
    *,
    seed: int,
) -> _World:
    if not len(images) == len(semantic) == len(split):
        raise ValueError(
            f"got {len(images)} images, features of {len(semantic)} and splits of {len(split)}. "
            "Give one row of features and one split for each image."
        )
    for word in dict.fromkeys(split):
        check_choice("split", str(word), SPLITS)
    if not np.isfinite(semantic).all():
        raise ValueError("semantic holds NaN or infinite values; give finite features.")
    words = np.array(list(split), dtype=str)
    fit = words != "test"
    if fit.sum() < 2:
        raise ValueError(
            f"there are {int(fit.sum())} training and validation images; give at least 2."
        )
    n_axes = settings.shared_axes + settings.other_axes
    scores, sds = principal_axes(semantic, fit, n_axes=n_axes)
    # With few features or images the two kinds of axes keep their proportion.
    n_shared = min(settings.shared_axes, -(-len(sds) * settings.shared_axes // n_axes))
    rng = numpy_rng(seed, "simulated", "areas")
    gains = {
        area: sds[:n_shared] ** settings.spectrum
        * np.exp(settings.area_gain * rng.standard_normal(n_shared))
        for area in HIGHER
    }
    energies, colours = low_level_maps(
        images,
        extent=settings.extent,
        orientations=settings.orientations,
        cycles_per_degree=settings.cycles_per_degree,
    )
    # Fine and coarse Gabors count alike, although natural images have more energy in the coarse.
    scale = energies[fit].mean(axis=(0, 2, 3), keepdims=True)
    energies /= np.where(scale > 0, scale, 1)
    return _World(
        settings=settings,
        split=words,
        fit=fit,
        energies=energies,
        colours=colours,
        shared_axes=rectify(scores[:, :n_shared], fit, amount=settings.axis_nonlinearity),
        other_axes=scores[:, n_shared:],
        gains=gains,
    )


def _simulate_subject(
    world: _World, subject: str, *, seed: int
) -> tuple[pd.DataFrame, Float32[np.ndarray, "trials voxels"], SubjectTruth]:
    settings = world.settings
    trials = draw_trials(
        world.split,
        numpy_rng(seed, "simulated", "design", subject),
        sessions=settings.sessions,
        trials_per_session=settings.trials_per_session,
        runs=settings.runs_per_session,
        repeat_shares=settings.repeat_shares,
        same_session=settings.same_session,
        test_repeats=settings.test_repeats,
    )
    area, fields, weights, signal = _draw_signal(
        world, numpy_rng(seed, "simulated", "voxels", subject)
    )
    rng = numpy_rng(seed, "simulated", "noise", subject)
    n_voxels = len(area)
    shares = NoiseShares(
        correlated=settings.correlated_share, drift=settings.drift_share, run=settings.run_share
    )
    ratio = _draw_ncsnr(area, rng, settings=settings)
    total = settings.response_sd * np.exp(0.3 * rng.standard_normal(n_voxels))
    noise_sd = (total / np.sqrt(1 + ratio**2)).astype(np.float32)
    signal_sd = (ratio * noise_sd).astype(np.float32)
    mean = (1 + 0.7 * rng.standard_normal(n_voxels)).astype(np.float32)
    loadings = noise_loadings(signal[world.fit], rng, n_latents=settings.noise_latents)
    drift, offsets = drift_and_offsets(
        trials, rng, n_voxels=n_voxels, shares=shares, session_offset=settings.session_offset
    )
    white = max(0.0, 1 - shares.correlated - shares.drift - shares.run)
    latents = rng.standard_normal((len(trials), loadings.shape[1]), dtype=np.float32)
    noise = np.float32(np.sqrt(shares.correlated)) * (latents @ loadings.T)
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


def _draw_signal(
    world: _World, rng: np.random.Generator
) -> tuple[
    Shaped[np.ndarray, " voxels"], Fields, HigherWeights, Float32[np.ndarray, "images voxels"]
]:
    """Draw the voxels of a person and their noiseless responses."""
    settings = world.settings
    n_voxels = int(rng.integers(settings.min_voxels, settings.max_voxels + 1))
    n_early = round(settings.early_share * n_voxels)
    early = _split_areas(EARLY, n_early)
    higher = _split_areas(HIGHER, n_voxels - n_early)
    fields = draw_fields(early, rng, extent=settings.extent, scatter=settings.field_scatter)
    low = early_drive(
        world.energies,
        world.colours,
        fields,
        rng,
        fit=world.fit,
        extent=settings.extent,
        exponent=settings.exponent,
        tuning=settings.tuning,
        colour_voxels=settings.colour_voxels,
        colour_share=settings.colour_share,
    )
    high, weights = higher_drive(
        world.shared_axes,
        world.other_axes,
        world.gains,
        higher,
        rng,
        fit=world.fit,
        n_own=settings.own_axes,
        own_share=settings.own_share,
        nonlinearity=settings.voxel_nonlinearity,
    )
    missing = np.full(len(higher), np.nan, dtype=np.float32)
    everywhere = Fields(
        x=np.concatenate([fields.x, missing]),
        y=np.concatenate([fields.y, missing]),
        size=np.concatenate([fields.size, missing]),
    )
    area = np.concatenate([early, higher])
    return area, everywhere, weights, np.concatenate([low, high], axis=1)


def _split_areas(shares: dict[str, float], n: int) -> Shaped[np.ndarray, " voxels"]:
    """Return `n` area names, each as often as its share, in the order of `shares`."""
    ends = np.round(np.cumsum(list(shares.values())) * n).astype(int)
    return np.repeat(np.array(list(shares), dtype="<U8"), np.diff(ends, prepend=0))


def _draw_ncsnr(
    area: Shaped[np.ndarray, " voxels"], rng: np.random.Generator, *, settings: SimulationSettings
) -> Float[np.ndarray, " voxels"]:
    """Draw ncsnr; the gain of the early areas leaves the median over all voxels where it is set."""
    early = np.isin(area, list(EARLY))
    level = settings.early_gain ** (early - early.mean())
    person = np.exp(settings.subject_sigma * rng.standard_normal())
    spread = np.exp(settings.ncsnr_sigma * rng.standard_normal(len(area)))
    drawn: Float[np.ndarray, " voxels"] = settings.ncsnr_median * person * level * spread
    return drawn


def _voxel_table(
    betas: Float32[np.ndarray, "trials voxels"],
    trials: pd.DataFrame,
    area: Shaped[np.ndarray, " voxels"],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Describe voxels as a mask of a real person would: positions, areas and measured noise."""
    n_voxels = betas.shape[1]
    side = int(np.ceil((4 * n_voxels) ** (1 / 3)))
    cells = np.sort(rng.choice(side**3, size=n_voxels, replace=False))
    i, j, k = np.unravel_index(cells, (side, side, side))
    used = trials[trials["split"] != "test"]
    ratio = np.full(n_voxels, np.nan, dtype=np.float32)
    if used["image"].duplicated().any():
        # Fitted without test images, so that a choice of voxels by this has not seen them.
        scaled, _ = zscore_by_session(
            betas[used.index.to_numpy()], used, subject=str(trials["subject"].iloc[0])
        )
        ratio = ncsnr(scaled, used["image"].to_numpy())
    return pd.DataFrame(
        {
            "i": i,
            "j": j,
            "k": k,
            "roi": area,
            "ncsnr": ratio,
            "noise_ceiling_1": noise_ceiling(ratio, 1),
            "noise_ceiling_3": noise_ceiling(ratio, 3),
        }
    )
