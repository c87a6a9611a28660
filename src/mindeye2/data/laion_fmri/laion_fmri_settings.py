"""Settings of the LAION-fMRI adapter."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mindeye2.core.settings import Settings

__all__ = ["LaionFmriSettings"]


class LaionFmriSettings(Settings):
    """Selection of subjects, sessions, voxels, split and embeddings."""

    subjects: tuple[str, ...] = ()
    """E.g. ``[sub-01, sub-03]``; all subjects with betas by default."""

    train_sessions: tuple[Annotated[int, Field(ge=1, le=30)], ...] = ()
    """Sessions of the training and validation trials; all existing ones by default."""

    test_sessions: tuple[Annotated[int, Field(ge=1, le=30)], ...] = ()
    """Sessions of the test trials; all existing ones by default, whatever `train_sessions` is."""

    split: Literal[
        "shared",
        "tau",
        "ood",
        "cluster_k5_0",
        "cluster_k5_1",
        "cluster_k5_2",
        "cluster_k5_3",
        "cluster_k5_4",
        "random_0",
        "random_1",
        "random_2",
        "random_3",
        "random_4",
    ] = "shared"
    """Split of the images: one of the release's, which are read from `splits_file`, or
    ``shared``: the images that all subjects saw are the test, as in the Natural Scenes Dataset."""

    splits_file: Path | None = None
    """JSON file of the split, or the folder of all of them, ``splits/data`` of the package
    ``laion_fmri``, which holds ``<pool>/<split>.json``."""

    ood_types: tuple[
        Literal[
            "cropped",
            "gabor",
            "gaudy",
            "illusion-classic",
            "illusion-natural",
            "relations",
            "selfmade",
            "shape",
            "unusual",
        ],
        ...,
    ] = ()
    """Kinds of out-of-distribution images that are the test of the split ``ood``; all by
    default."""

    pool: Literal["subject", "shared"] = "subject"
    """Images that the release's split is of, where `splits_file` is the folder: all that a subject
    saw, or those that all subjects saw."""

    roi: tuple[str, ...] = ("laion-general",)
    """Regions of interest whose voxels are taken together; without any, `min_noise_ceiling`
    chooses among all voxels."""

    noise_ceiling: Literal["4rep", "12rep", "Allrep"] = "Allrep"
    """Map of noise ceilings for `min_noise_ceiling`, from images shown 4 or 12 times, or all."""

    min_noise_ceiling: Annotated[float, Field(ge=0, le=100)] | None = None
    """Lowest noise ceiling of a voxel in percent of variance. The release estimates it from all
    sessions, test images included."""

    embeddings: tuple[Literal["CLIP", "DINOv2", "PEcore", "SigLIP2"], ...] = ("CLIP",)
    """Published embeddings that become targets: ``laion-clip``, ``laion-dinov2``,
    ``laion-pecore``, ``laion-siglip2``."""

    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """Fraction of each subject's training images in the validation split."""

    image_size: Annotated[int, Field(ge=32)] = 224
    """Side in pixels to which images are downsampled, from 1000."""

    seed: int = 0
    """Seed of the choice of validation images."""
