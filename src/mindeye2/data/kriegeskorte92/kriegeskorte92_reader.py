"""Reader of fMRI responses in inferior temporal cortex of four subjects to 92 photographs.

Kriegeskorte et al. 2008, Neuron 60:1126, doi 10.1016/j.neuron.2008.10.043. Published are not the
response patterns but, for each subject and each of two sessions, ``rdm``, 1 - Pearson correlation
between the patterns of two images. ``1 - rdm`` is the Gram matrix of the patterns after
subtraction of their mean over voxels and division by their norm; its eigenvectors give 92
coordinates that equal those patterns up to a rotation of voxel space, which linear maps, kernels
and networks behind a linear map can undo.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64
from pydantic import Field, model_validator

from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import numpy_rng
from mindeye2.core.settings import Settings
from mindeye2.data.kriegeskorte92.kriegeskorte92_files import (
    TERMS,
    download_published,
    load_kriegeskorte92,
)
from mindeye2.data.source_dataset import SourceDataset

__all__ = ["Kriegeskorte92Settings", "read_kriegeskorte92"]

_CAPTIONS = {
    "human bodypart": "a human body part",
    "human face": "a human face",
    "nonhuman bodypart": "a nonhuman body part",
    "nonhuman face": "a nonhuman face",
    "natural inanimate": "a natural inanimate object",
    "artificial inanimate": "an artificial inanimate object",
}
"""Captions by category; single images are not described."""


class Kriegeskorte92Settings(Settings):
    """Held-out images, and the download."""

    n_folds: Annotated[int, Field(ge=2, le=23)] = 4
    """Folds over images; one of them is the test split of all subjects."""

    fold: Annotated[int, Field(ge=0)] = 0
    """The fold that is the test split, counted from 0."""

    n_validation: Annotated[int, Field(ge=0, le=23)] = 8
    """Images of the validation split, sampled from the other folds. Shared-subject training needs
    at least 2."""

    download: bool = False
    """Download the two published files (about 4 MB) into the folder that ``--source`` names, where
    they are missing; terms, addresses and sizes are shown first."""

    seed: int = 0
    """Seeds the folds, the validation images, the order of the trials and the bases of the
    coordinates."""

    @model_validator(mode="after")
    def _fold_exists(self) -> "Kriegeskorte92Settings":
        if self.fold >= self.n_folds:
            raise ValueError(
                f"fold={self.fold} must be below n_folds={self.n_folds}: folds count from 0"
            )
        return self


def coordinates(
    rdm: Float[np.ndarray, "images images"], *, rng: np.random.Generator, name: str
) -> Float[np.ndarray, "images voxels"]:
    """Return coordinates with inner products ``1 - rdm``: unit-norm rows, randomly rotated.

    Unrotated, the first coordinates would hold nearly all variance, and which they are would
    depend on test images too.
    """
    bad = ~np.isfinite(rdm)
    if bad.any():
        first = tuple(np.argwhere(bad)[0].tolist())
        raise ArtifactError(
            f"the rdm of {name} holds {int(bad.sum())} values that are NaN or infinite, the first "
            f"between images {first[0]} and {first[1]}. All must be finite: take the file as "
            "published."
        )
    gram = 1.0 - rdm.astype(np.float64)
    if not (np.allclose(gram, gram.T, atol=1e-4) and np.allclose(np.diag(gram), 1, atol=1e-4)):
        raise ArtifactError(
            f"the rdm of {name} is not a matrix of correlation distances: it must be symmetric "
            "with a diagonal of 0, values being 1 - Pearson correlation between images. Squared "
            "or rank-transformed distances cannot be turned into patterns."
        )
    eigenvalues, vectors = np.linalg.eigh((gram + gram.T) / 2)
    if eigenvalues[0] < -1e-3:
        raise ArtifactError(
            f"1 - rdm of {name} is no Gram matrix: it has the eigenvalue {eigenvalues[0]:.3g}, "
            "and none may be below 0. Rank-transformed and crossvalidated distances are not "
            "accepted: give the rdm of each subject and session as published."
        )
    rotation, _ = np.linalg.qr(rng.standard_normal(gram.shape))
    scaled = vectors * np.sqrt(eigenvalues.clip(0))
    return np.asarray(scaled @ rotation)


def split_images(n_images: int, *, settings: Kriegeskorte92Settings) -> list[str]:
    """Return the split of each image."""
    order = numpy_rng(settings.seed, "kriegeskorte92", "folds").permutation(n_images)
    test = order[settings.fold :: settings.n_folds]
    rest = np.setdiff1d(order, test)
    chosen = numpy_rng(settings.seed, "kriegeskorte92", "validation", settings.fold).choice(
        rest, size=min(settings.n_validation, len(rest) - 1), replace=False
    )
    split = np.full(n_images, "train", dtype=object)
    split[test], split[chosen] = "test", "validation"
    return [str(s) for s in split]


def read_kriegeskorte92(source: Path, *, settings: Kriegeskorte92Settings) -> SourceDataset:
    """Read the responses to 92 photographs.

    Each session of each subject is a subject of its own (``subj01-session1``), because the
    coordinates of two sessions are unrelated.

    Parameters
    ----------
    source
        The folder with the two published files, or ``kriegeskorte92.npz``; see
        `load_kriegeskorte92`.
    settings
        Held-out images, and whether missing files are downloaded.

    Returns
    -------
    SourceDataset
        The mean over the images outside the test split is subtracted from the coordinates, and one
        factor per subject gives these images unit variance on average; scaling each coordinate
        would distort the distances.

    Raises
    ------
    ArtifactError
        If the file is missing, damaged, or holds something else.
    """
    if settings.download:
        download_published(Path(source))
    images, rdm, category = load_kriegeskorte92(Path(source))
    split = split_images(len(images), settings=settings)
    fitted = np.array([s != "test" for s in split])
    # The order of presentation is not published, and the file is sorted by category: in random
    # order, the first trials are a sample of all categories.
    order = numpy_rng(settings.seed, "kriegeskorte92", "order").permutation(len(images))
    tables, betas, scales = [], {}, {}
    for number, session in np.ndindex(rdm.shape[:2]):
        subject = f"subj{number + 1:02d}-session{session + 1}"
        rng = numpy_rng(settings.seed, "kriegeskorte92", "basis", subject)
        raw = coordinates(rdm[number, session], rng=rng, name=subject)
        centred = raw - raw[fitted].mean(axis=0)
        scales[subject] = float(1 / centred[fitted].std())
        betas[subject] = (centred * scales[subject])[order].astype(np.float32)
        tables.append(_trials(subject, session=session + 1, order=order))
    n_subjects, n_sessions = rdm.shape[:2]
    return SourceDataset(
        images=images,
        trials=pd.concat(tables, ignore_index=True).assign(
            split=lambda t: t["image"].map(dict(enumerate(split))),
            category=lambda t: t["image"].map(dict(enumerate(category))),
        ),
        betas=betas,
        voxels={s: pd.DataFrame({"coordinate": range(b.shape[1])}) for s, b in betas.items()},
        captions=[_CAPTIONS.get(c, c) for c in category],
        categories=[str(c) for c in category],
        zscored=True,
        label=(
            f"Real fMRI: inferior temporal cortex of {n_subjects} subjects in {n_sessions} "
            "sessions, as coordinates from published correlation distances, not as voxels "
            "(Kriegeskorte et al. 2008)."
        ),
        notes=[TERMS],
        facts={"scale": scales},
    )


def _trials(subject: str, *, session: int, order: Int64[np.ndarray, " trials"]) -> pd.DataFrame:
    """Return one trial per image: one response to each image is published in each session."""
    return pd.DataFrame(
        {
            "subject": subject,
            "session": session,
            "run": 1,
            "trial": np.arange(1, len(order) + 1),
            "image": order,
            "source_image": order,
            "repeat": 0,
        }
    )
