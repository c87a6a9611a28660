"""Real responses: human inferior temporal cortex of four people looking at 92 photographs.

Kriegeskorte et al. 2008, Neuron 60:1126, doi 10.1016/j.neuron.2008.10.043. What is published are
not the patterns but, for each person and each of two sessions, ``rdm``, 1 - Pearson correlation
between the patterns of two images. ``1 - rdm`` is the Gram matrix of the patterns after each lost
its mean over voxels and its norm; its eigenvectors give 92 coordinates that equal those patterns
but for a rotation of voxel space. Linear maps, kernels and networks behind a linear map lose
nothing by that.
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

__all__ = ["Kriegeskorte92Settings", "coordinates", "read_kriegeskorte92", "split_images"]

_CAPTIONS = {
    "human bodypart": "a human body part",
    "human face": "a human face",
    "nonhuman bodypart": "a nonhuman body part",
    "nonhuman face": "a nonhuman face",
    "natural inanimate": "a natural inanimate object",
    "artificial inanimate": "an artificial inanimate object",
}
"""The labels of the data as words; nobody described the single pictures."""


class Kriegeskorte92Settings(Settings):
    """Which of the 92 images are held out."""

    n_folds: Annotated[int, Field(ge=2, le=23)] = 4
    """Folds over images; one of them is the test split of everybody."""

    fold: Annotated[int, Field(ge=0)] = 0
    """Which fold is the test split, counted from 0."""

    n_validation: Annotated[int, Field(ge=0, le=23)] = 8
    """Images of the validation split, drawn from the other folds. Shared-subject training needs at
    least 2."""

    download: bool = False
    """Download the two published files (about 4 MB) into the folder that ``--source`` names, where
    they are not there; terms, addresses and sizes are shown first."""

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
    """Return coordinates whose inner products are ``1 - rdm``.

    Parameters
    ----------
    rdm
        1 - Pearson correlation of the patterns of any two images.
    rng
        Draws the rotation. In the eigenvectors' own order the first coordinates would hold nearly
        all variance, and what is first would depend on test images too; after a random rotation
        coordinates are as alike as voxels are.
    name
        Whose, for messages.

    Returns
    -------
    numpy.ndarray
        Unit-norm rows, as many columns as images.

    Raises
    ------
    ArtifactError
        If a value is not finite, or ``1 - rdm`` is not the Gram matrix of unit-norm patterns.
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
            "accepted: give the rdm of each person and session as published."
        )
    rotation, _ = np.linalg.qr(rng.standard_normal(gram.shape))
    scaled = vectors * np.sqrt(eigenvalues.clip(0))
    return np.asarray(scaled @ rotation)


def split_images(n_images: int, *, settings: Kriegeskorte92Settings) -> list[str]:
    """Give every image its split.

    Parameters
    ----------
    n_images
        Number of images.
    settings
        Folds and validation images.

    Returns
    -------
    list of str
        ``"train"``, ``"validation"`` or ``"test"`` by image.
    """
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

    Each session of each person is a subject of its own (``subj01-session1``), because the
    coordinates of two sessions have nothing to do with each other.

    Parameters
    ----------
    source
        The folder with the two published files, or ``kriegeskorte92.npz``; see
        `load_kriegeskorte92`.
    settings
        Which images are held out, and whether missing files are downloaded.

    Returns
    -------
    SourceDataset
        Ready to be prepared. The coordinates lost the mean over the images outside the test split
        and were multiplied by one number per subject that gives these images unit variance on
        average; scaling each coordinate would distort the distances that are all the data hold.

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
    # The order of presentation is not published, and the file is sorted by category: in a random
    # order the first so many trials are a fair sample of all.
    order = numpy_rng(settings.seed, "kriegeskorte92", "order").permutation(len(images))
    tables, betas, scales = [], {}, {}
    for person, session in np.ndindex(rdm.shape[:2]):
        subject = f"subj{person + 1:02d}-session{session + 1}"
        rng = numpy_rng(settings.seed, "kriegeskorte92", "basis", subject)
        raw = coordinates(rdm[person, session], rng=rng, name=subject)
        centred = raw - raw[fitted].mean(axis=0)
        scales[subject] = float(1 / centred[fitted].std())
        betas[subject] = (centred * scales[subject])[order].astype(np.float32)
        tables.append(_trials(subject, session=session + 1, order=order))
    n_people, n_sessions = rdm.shape[:2]
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
            f"Real fMRI: inferior temporal cortex of {n_people} people in {n_sessions} sessions, "
            "as coordinates from published correlation distances, not as voxels "
            "(Kriegeskorte et al. 2008)."
        ),
        notes=[TERMS],
        facts={"scale": scales},
    )


def _trials(subject: str, *, session: int, order: Int64[np.ndarray, " trials"]) -> pd.DataFrame:
    """One row per image: what is published is one response to each image in each session."""
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
