"""The prepared data set: one documented folder that every adapter writes and every stage reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float16, Float32, Int64, UInt8
from numpy.typing import NDArray

from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.core.errors import ArtifactError, check_choice
from mindeye2.data.betas import Scaler
from mindeye2.data.checks import SPLITS, check_parts, check_trials

__all__ = [
    "SPLITS",
    "Prepared",
    "check_trials",
    "open_prepared",
    "seal_prepared",
    "write_prepared",
    "write_subject",
]


@dataclass(frozen=True)
class Prepared:
    """A prepared data set, opened; large arrays stay on disk until they are used."""

    folder: Path
    """Where it lies."""

    manifest: dict[str, Any]
    """What the prepare stage recorded."""

    @cached_property
    def images(self) -> UInt8[np.ndarray, "images height width rgb"]:
        """The stimuli, memory-mapped."""
        return _load(self.folder / "images.npy")

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Every trial of every subject."""
        return pd.read_parquet(self.folder / "trials.parquet")

    @cached_property
    def captions(self) -> list[str] | None:
        """One caption per image, or None where the source has none."""
        path = self.folder / "captions.parquet"
        if not path.exists():
            return None
        table = pd.read_parquet(path).drop_duplicates("image").set_index("image")
        return [str(c) for c in table["caption"].reindex(range(len(self.images))).fillna("")]

    @cached_property
    def categories(self) -> list[str] | None:
        """The kind of thing that each image shows, or None where the source does not say."""
        path = self.folder / "captions.parquet"
        table = pd.read_parquet(path) if path.exists() else pd.DataFrame()
        return table["category"].tolist() if "category" in table else None

    @property
    def subjects(self) -> list[str]:
        """Names of the subjects."""
        return list(self.manifest["subjects"])

    @property
    def n_voxels(self) -> dict[str, int]:
        """Voxel count of each subject."""
        return dict(self.manifest["subjects"])

    @property
    def images_hash(self) -> str:
        """SHA-256 of the pictures: an image's row means the same where this is the same."""
        return str(self.manifest["files"]["images.npy"]["sha256"])

    def trials_of(
        self, subject: str, split: str | None = None, *, sessions: Sequence[int] | None = None
    ) -> pd.DataFrame:
        """Return the trials of one subject; the index is the row of its betas.

        Parameters
        ----------
        subject
            One of `subjects`.
        split
            One of `SPLITS`, or None for all trials.
        sessions
            Only these sessions, or None for all.

        Returns
        -------
        pandas.DataFrame
            In the order of the betas' rows.

        Raises
        ------
        ValueError
            If the subject or split is unknown.
        """
        check_choice("subject", subject, self.subjects)
        table = self.trials[self.trials["subject"] == subject].reset_index(drop=True)
        if sessions is not None:
            table = table[table["session"].isin(sessions)]
        if split is not None:
            check_choice("split", split, SPLITS)
            table = table[table["split"] == split]
        return table

    def betas(self, subject: str) -> Float16[np.ndarray, "trials voxels"]:
        """Return the z-scored betas of one subject, memory-mapped.

        Parameters
        ----------
        subject
            One of `subjects`.

        Returns
        -------
        numpy.ndarray
            One row per trial.
        """
        check_choice("subject", subject, self.subjects)
        return _load(self.folder / "betas" / f"{subject}.npy")

    def voxels(self, subject: str) -> pd.DataFrame:
        """Return what is known of each voxel: place, ROI, reliability.

        Parameters
        ----------
        subject
            One of `subjects`.

        Returns
        -------
        pandas.DataFrame
            One row per column of the betas.
        """
        check_choice("subject", subject, self.subjects)
        return pd.read_parquet(self.folder / "voxels" / f"{subject}.parquet")

    def targets(self, encoder: str) -> Float16[np.ndarray, "images ..."]:
        """Return what a frozen encoder gives for every image, memory-mapped.

        Parameters
        ----------
        encoder
            Name of a folder in ``targets/``.

        Returns
        -------
        numpy.ndarray
            One row per image.

        Raises
        ------
        ArtifactError
            If they were not computed.
        """
        known = sorted(p.name for p in (self.folder / "targets").glob("*"))
        if encoder not in known:
            raise ArtifactError(
                f"{self.folder} has no targets of the encoder {encoder!r}, only {known}. "
                "Prepare the data set with that encoder."
            )
        return _load(self.folder / "targets" / encoder / "values.npy")

    def images_of(self, split: str) -> Int64[np.ndarray, " images"]:
        """Return the images that any subject's trials of a split show, ascending.

        Parameters
        ----------
        split
            One of `SPLITS`.

        Returns
        -------
        numpy.ndarray
            Rows of `images`.
        """
        check_choice("split", split, SPLITS)
        shown = self.trials.loc[self.trials["split"] == split, "image"]
        return np.unique(shown.to_numpy()).astype(np.int64)


def open_prepared(folder: Path) -> Prepared:
    """Open a prepared data set.

    Parameters
    ----------
    folder
        A folder that ``mindeye2 prepare`` finished.

    Returns
    -------
    Prepared
        The data set.

    Raises
    ------
    ArtifactError
        If it is missing, unfinished or damaged.
    """
    return Prepared(folder=Path(folder), manifest=read_manifest(Path(folder), stage="prepare"))


def write_subject(folder: Path, subject: str, *, voxels: pd.DataFrame, scaler: Scaler) -> None:
    """Write what is known of a subject's voxels and what its betas were scaled with.

    Parameters
    ----------
    folder
        The data set.
    subject
        Its name.
    voxels
        One row per voxel.
    scaler
        What the betas were scaled with.
    """
    for name in ("scaler", "voxels"):
        (folder / name).mkdir(exist_ok=True)
    voxels.to_parquet(folder / "voxels" / f"{subject}.parquet", index=False)
    np.savez(
        folder / "scaler" / f"{subject}.npz",
        sessions=scaler.sessions,
        mean=scaler.mean,
        std=scaler.std,
        fitted_on=scaler.fitted_on,
    )


def seal_prepared(
    folder: Path,
    *,
    trials: pd.DataFrame,
    captions: Sequence[str] | None,
    categories: Sequence[str] | None = None,
    subjects: Mapping[str, int],
    config: Mapping[str, Any],
    **facts: Any,  # noqa: ANN401 - plain values of the manifest
) -> Path:
    """Write the tables of a data set whose pictures, betas and voxels are there, and seal it.

    Parameters
    ----------
    folder
        The data set.
    trials
        Every trial; those of a subject in the order of its betas' rows.
    captions
        One per image, or None.
    categories
        The kind of thing that each captioned image shows, or None.
    subjects
        Voxel count of each subject.
    config
        Settings of the preparation.
    **facts
        Further entries of the manifest.

    Returns
    -------
    Path
        The manifest.
    """
    trials.to_parquet(folder / "trials.parquet", index=False)
    if captions is not None:
        table = pd.DataFrame({"image": np.arange(len(captions)), "caption": list(captions)})
        if categories is not None:
            table["category"] = list(categories)
        table.to_parquet(folder / "captions.parquet", index=False)
    return write_manifest(folder, stage="prepare", config=config, subjects=dict(subjects), **facts)


def write_prepared(
    folder: Path,
    *,
    trials: pd.DataFrame,
    captions: Sequence[str] | None,
    categories: Sequence[str] | None = None,
    betas: Mapping[str, Float32[np.ndarray, "trials voxels"]],
    voxels: Mapping[str, pd.DataFrame],
    scalers: Mapping[str, Scaler],
    config: Mapping[str, Any],
    **facts: Any,  # noqa: ANN401 - plain values of the manifest
) -> Path:
    """Write what is in memory, all but ``images.npy`` and ``targets/``, and seal the folder.

    Parameters
    ----------
    folder
        Holds ``images.npy`` already.
    trials
        Every trial; those of a subject in the order of its betas' rows.
    captions
        One per image, or None.
    categories
        The kind of thing that each captioned image shows, or None.
    betas
        Z-scored betas by subject.
    voxels
        One row per voxel, by subject.
    scalers
        What the betas were scaled with, by subject.
    config
        Settings of the preparation.
    **facts
        Further entries of the manifest.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    ArtifactError
        If the parts do not fit each other.
    """
    images = _load(folder / "images.npy")
    shapes = {name: values.shape for name, values in betas.items()}
    check_parts(trials, n_images=len(images), shapes=shapes, voxels=voxels, captions=captions)
    (folder / "betas").mkdir(exist_ok=True)
    for subject, values in betas.items():
        np.save(folder / "betas" / f"{subject}.npy", values.astype(np.float16))
        write_subject(folder, subject, voxels=voxels[subject], scaler=scalers[subject])
    return seal_prepared(
        folder,
        trials=trials,
        captions=captions,
        categories=categories,
        subjects={name: shape[1] for name, shape in shapes.items()},
        config=config,
        **facts,
    )


def _load(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path} is missing. Run 'mindeye2 prepare' again with --resume."
        ) from error
    except (ValueError, EOFError) as error:
        raise ArtifactError(
            f"{path} is truncated or not a NumPy array ({error}). "
            "Remove it and run 'mindeye2 prepare' again with --resume."
        ) from error
    return array
