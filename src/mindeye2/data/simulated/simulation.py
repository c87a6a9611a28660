"""Trials and betas of simulated subjects; `mindeye2.data.simulated` states the equations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Shaped, UInt8

from mindeye2.core.errors import check_choice
from mindeye2.core.runtime import numpy_rng
from mindeye2.data.prepared import SPLITS
from mindeye2.data.prepared.zscore import zscore_by_session
from mindeye2.data.reliability import ncsnr, noise_ceiling
from mindeye2.data.simulated.receptive_fields import low_level_maps
from mindeye2.data.simulated.simulated_subject import HIGHER, SubjectTruth, World, simulate_subject
from mindeye2.data.simulated.simulated_voxels import pca_scores, rectify
from mindeye2.data.simulated.simulation_settings import SimulationSettings

__all__ = ["SimulatedStudy", "simulate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedStudy:
    """Trials and betas of simulated subjects."""

    trials: pd.DataFrame
    """Columns subject, session, run, trial, image, source_image, repeat, split; row n of a
    subject's trials is row n of its betas."""

    betas: dict[str, Float32[np.ndarray, "trials voxels"]]
    """Percent signal change by subject, not z-scored."""

    voxels: dict[str, pd.DataFrame]
    """By subject: position i, j, k on an arbitrary grid, roi, and from repeats of training and
    validation images: ncsnr, noise_ceiling_1 and noise_ceiling_3 (percent; NaN where no image is
    repeated)."""

    truth: dict[str, SubjectTruth]
    """By subject: the quantities that generated the betas."""

    components: Float32[np.ndarray, "images components"]
    """Scores of the images on the shared semantic components."""


def simulate(
    images: UInt8[np.ndarray, "images height width rgb"],
    semantic: Float[np.ndarray, "_ features"],
    split: Sequence[str] | Shaped[np.ndarray, " _"],
    *,
    settings: SimulationSettings | None = None,
    seed: int,
) -> SimulatedStudy:
    """Simulate the responses of subjects to images.

    Parameters
    ----------
    images
        RGB images; may be memory-mapped.
    semantic
        Features of each image for the higher visual areas, of a network that is not the decoder's
        target encoder.
    split
        ``"train"``, ``"validation"`` or ``"test"`` for each image.
    settings
        The parameters; the defaults if None.
    seed
        Seed of subjects, designs and noise.

    Returns
    -------
    SimulatedStudy
        Trials, betas, voxels, and the quantities that generated them.

    Raises
    ------
    ValueError
        If the lengths disagree, a split is unknown, the features are not finite, or there are too
        few images for the trials.
    """
    settings = settings or SimulationSettings()
    words = _check(images, semantic, split)
    world = _build_world(images, semantic, words, settings=settings, seed=seed)
    tables, betas, voxels, truth = [], {}, {}, {}
    for k in range(1, world.settings.n_subjects + 1):
        subject = f"subj{k:02d}"
        trials, betas[subject], truth[subject] = simulate_subject(world, subject, seed=seed)
        trials.insert(0, "subject", subject)
        trials.insert(5, "source_image", trials["image"])
        rng = numpy_rng(seed, "simulated", "positions", subject)
        voxels[subject] = _voxel_table(betas[subject], trials, area=truth[subject].area, rng=rng)
        tables.append(trials)
    return SimulatedStudy(
        trials=pd.concat(tables, ignore_index=True),
        betas=betas,
        voxels=voxels,
        truth=truth,
        components=world.shared_components,
    )


def _check(
    images: UInt8[np.ndarray, "images height width rgb"],
    semantic: Float[np.ndarray, "_ features"],
    split: Sequence[str] | Shaped[np.ndarray, " _"],
) -> Shaped[np.ndarray, " images"]:
    """Return the splits as an array after checks of lengths, words and finite features."""
    if not len(images) == len(semantic) == len(split):
        raise ValueError(
            f"got {len(images)} images, features of {len(semantic)} images and {len(split)} "
            "splits. Give one row of features and one split for each image."
        )
    for word in dict.fromkeys(split):
        check_choice("split", str(word), SPLITS)
    if not np.isfinite(semantic).all():
        raise ValueError("semantic holds NaN or infinite values. Give finite features.")
    words = np.array(list(split), dtype=str)
    if (words != "test").sum() < 2:
        raise ValueError(
            f"there are {(words != 'test').sum()} training and validation images. "
            "Give at least 2: responses are standardised over them."
        )
    return words


def _build_world(
    images: UInt8[np.ndarray, "images height width rgb"],
    semantic: Float[np.ndarray, "images features"],
    split: Shaped[np.ndarray, " images"],
    *,
    settings: SimulationSettings,
    seed: int,
) -> World:
    """Compute stimulus features and area gains, which all subjects share."""
    fit = split != "test"
    n_components = settings.shared_components + settings.other_components
    scores, sds = pca_scores(semantic, fit, n_components=n_components)
    # With few features or images, the two kinds of components keep their proportion.
    n_shared = min(
        settings.shared_components, -(-len(sds) * settings.shared_components // n_components)
    )
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
    # Equal weight for fine and coarse Gabors: natural images have more energy in the coarse.
    scale = energies[fit].mean(axis=(0, 2, 3), keepdims=True)
    energies /= np.where(scale > 0, scale, 1)
    return World(
        settings=settings,
        split=split,
        fit=fit,
        energies=energies,
        colours=colours,
        shared_components=rectify(
            scores[:, :n_shared], fit, amount=settings.component_nonlinearity
        ),
        other_components=scores[:, n_shared:],
        gains=gains,
    )


def _voxel_table(
    betas: Float32[np.ndarray, "trials voxels"],
    trials: pd.DataFrame,
    *,
    area: Shaped[np.ndarray, " voxels"],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the voxel table: positions, areas and measured noise ceilings."""
    n_voxels = betas.shape[1]
    side = int(np.ceil((4 * n_voxels) ** (1 / 3)))
    cells = np.sort(rng.choice(side**3, size=n_voxels, replace=False))
    i, j, k = np.unravel_index(cells, (side, side, side))
    used = trials[trials["split"] != "test"]
    ratio = np.full(n_voxels, np.nan, dtype=np.float32)
    if used["image"].duplicated().any():
        # Without test images, so that voxels may be selected by it.
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
