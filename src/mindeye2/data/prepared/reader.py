"""Reading a prepared data set; large arrays stay on disk until rows of them are used."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float16, Int64, UInt8
from numpy.typing import NDArray

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError, check_choice
from mindeye2.data.known_images import KNOWN_IMAGES, ImageDesign
from mindeye2.data.prepared.consistency import SPLITS

__all__ = ["Prepared", "open_prepared"]

_KINDS = ("object", "setting", "number", "light")

PUBLISHED = "laion-"
"""Beginning of the names of targets that are published embeddings, which no encoder computes."""


@dataclass(frozen=True)
class Prepared:
    """A prepared data set whose arrays are memory-mapped."""

    folder: Path
    """The folder that ``mindeye2 prepare`` filled."""

    manifest: dict[str, Any]
    """Its manifest."""

    @property
    def has_images(self) -> bool:
        """Whether the stimuli are there, and not only embeddings of them."""
        return bool(self.manifest.get("has_images", True))

    @property
    def n_images(self) -> int:
        """Number of stimuli."""
        return len(self.images) if self.has_images else int(self.manifest["n_images"])

    @cached_property
    def images(self) -> UInt8[np.ndarray, "images height width rgb"]:
        """The stimuli, memory-mapped; ``ArtifactError`` where the source had none."""
        if not self.has_images:
            raise ArtifactError(
                f"{self.folder} was prepared without images, from published embeddings of them: "
                "responses can be trained on and images retrieved, but nothing that shows, "
                "generates or compares pictures. Get the images and prepare again."
            )
        return _open_array(self.folder / "images.npy")

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
        return [str(c) for c in table["caption"].reindex(range(self.n_images)).fillna("")]

    @cached_property
    def categories(self) -> list[str] | None:
        """One category per image, e.g. ``"animal"``, or None where the source has none."""
        return self.kinds.get("object")

    @cached_property
    def kinds(self) -> dict[str, list[str]]:
        """Kinds of each image by part, as far as the source knows them.

        Parts are ``object`` (its category), ``setting``, ``number`` of objects and ``light``.
        """
        path = self.folder / "captions.parquet"
        table = pd.read_parquet(path) if path.exists() else pd.DataFrame()
        table = table.rename(columns={"category": "object"})
        return {part: table[part].tolist() for part in _KINDS if part in table}

    @property
    def subjects(self) -> list[str]:
        """Names of the subjects."""
        return list(self.manifest["subjects"])

    @property
    def n_voxels(self) -> dict[str, int]:
        """Voxel count of each subject."""
        return dict(self.manifest["subjects"])

    @property
    def design(self) -> ImageDesign:
        """Whether test trials show images of the training trials."""
        return KNOWN_IMAGES if self.manifest.get("design") == KNOWN_IMAGES else "new_images"

    @property
    def known_images(self) -> bool:
        """Whether the design is of known images."""
        return self.design == KNOWN_IMAGES

    @property
    def images_hash(self) -> str:
        """SHA-256 of ``images.npy``, without images of their names.

        Two data sets of one hash number their images alike.
        """
        if not self.has_images:
            return str(self.manifest["images_sha256"])
        return str(self.manifest["files"]["images.npy"]["sha256"])

    def trials_of(
        self, subject: str, split: str | None = None, *, sessions: Sequence[int] | None = None
    ) -> pd.DataFrame:
        """Return the trials of one subject.

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
            In the order of the betas; the index is the row of the betas.

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
        """Return the z-scored betas of one subject, memory-mapped, one row per trial."""
        check_choice("subject", subject, self.subjects)
        return _open_array(self.folder / "betas" / f"{subject}.npy")

    def voxels(self, subject: str) -> pd.DataFrame:
        """Return position, ROI and reliability of each voxel, in the order of the betas."""
        check_choice("subject", subject, self.subjects)
        return pd.read_parquet(self.folder / "voxels" / f"{subject}.parquet")

    def targets(self, encoder: str) -> Float16[np.ndarray, "images ..."]:
        """Return the output of a frozen encoder for every image, memory-mapped.

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
            If the data set was prepared without this encoder.
        """
        self.require_targets([encoder])
        return _open_array(self.folder / "targets" / encoder / "values.npy")

    def require_targets(self, encoders: Sequence[str]) -> None:
        """Check that there are targets of some encoders.

        Parameters
        ----------
        encoders
            Names of folders in ``targets/``.

        Raises
        ------
        ArtifactError
            If the data set was prepared without some of them, with the command that adds them.
        """
        known = sorted(p.name for p in (self.folder / "targets").glob("*"))
        missing = sorted({*encoders} - {*known})
        if not missing:
            return
        plural = "s" if len(missing) > 1 else ""
        raise ArtifactError(
            f"{self.folder} has no targets of the encoder{plural} "
            f"{', '.join(map(repr, missing))}, only {known}. Add them with: "
            f"{self.command_for_targets(missing)}"
        )

    def command_for_targets(self, encoders: Sequence[str]) -> str:
        """Return the command that adds targets of some encoders, and what to know of it."""
        config = self.manifest["config"]
        published = [name for name in encoders if name.startswith(PUBLISHED)]
        if published:
            return (
                f"mindeye2 prepare {config.get('kind', 'KIND')} into another folder: "
                f"{', '.join(published)} are no encoders but published embeddings, which "
                "--set laion_fmri.embeddings=[...] chooses when LAION-fMRI is prepared."
            )
        source = config.get("source")
        given = f" --source {(self.folder / source).resolve()}" if source else ""
        weights = " ".join(f"--set encoder_weights.{name}=FOLDER" for name in encoders)
        return (
            f"mindeye2 prepare {config.get('kind', 'KIND')}{given} --out {self.folder} --resume "
            f"--set 'encoders=[{','.join(encoders)}]', and for encoders of imported weights "
            f"{weights}. What is there is kept; settings other than encoders must be those in "
            f"{self.folder / 'config.yaml'}."
        )

    def images_of(self, split: str) -> Int64[np.ndarray, " images"]:
        """Return the rows of `images` that trials of a split show to any subject, ascending."""
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


def _open_array(path: Path) -> NDArray[Any]:
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
