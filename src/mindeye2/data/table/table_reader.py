"""Reader of a lab's own arrays: a matrix of betas, a trial table, a folder of images.

The source is a folder::

    trials.csv      one row per trial: image, and subject, session, run, trial, split, caption
    betas.npy       (trials, voxels), row n for row n of the table; or betas/<subject>.npy
    images/         the files that the column image names
    voxels.csv      optional: one row per voxel, i, j, k and ROI columns; or voxels/<subject>.csv

Betas may also end in ``.h5``, ``.hdf5`` or ``.mat``; tables in ``.tsv`` or ``.parquet``.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import Settings
from mindeye2.data.arrays import ARRAY_SUFFIXES, find_array, open_matrix
from mindeye2.data.image_files import ImageFiles, ImageSettings, find_images
from mindeye2.data.known_images import ImageDesign
from mindeye2.data.source_dataset import Rows, SourceDataset
from mindeye2.data.splits import SplitSettings, make_splits
from mindeye2.data.trial_table import complete_trials, number_images, read_table

__all__ = ["TableSettings", "read_study"]


class TableSettings(Settings):
    """Names of files inside the source, and of columns."""

    trials: str = "trials.csv"
    """The trial table."""

    images: str = "images"
    """Folder of the stimuli."""

    betas: str = "betas"
    """File of the matrix, or folder with one file per subject; the suffix may be left out."""

    voxels: str = "voxels"
    """Table of voxels, or folder with one table per subject; optional."""

    columns: Mapping[str, str] = {}
    """Names of the table's columns, where they differ from the standard names, e.g.
    ``{image: stim_file}``."""

    variable: str = "betas"
    """The array in an HDF5 or MATLAB file of one subject. Files of several hold one array per
    subject, under the subject's name."""

    zscored: bool = False
    """The betas are z-scored already, without the test images: leave them as they are."""

    stimuli: ImageSettings = ImageSettings()
    """Size and cropping of the stimuli."""

    design: ImageDesign = "new_images"
    """``known_images``: test trials show the same images as training trials ("which of these
    ten"). By default test images are shown in no training trial."""

    splits: SplitSettings = SplitSettings()
    """Held-out images, where the table has no column ``split``."""


def read_study(source: Path, *, settings: TableSettings) -> SourceDataset:
    """Read a lab's own arrays.

    Parameters
    ----------
    source
        The folder.
    settings
        Names of files and columns.

    Returns
    -------
    SourceDataset
        Betas and images are read while they are prepared.

    Raises
    ------
    ArtifactError
        If a file is missing, or files do not fit each other.
    """
    if not source.is_dir():
        raise ArtifactError(
            f"--source {source} is not a folder. Give the folder with {settings.trials} (one row "
            f"per trial, with a column 'image'), {settings.betas} (trials, voxels) and the folder "
            f"{settings.images}."
        )
    path = source / settings.trials
    table = read_table(
        path, text=("image", settings.columns.get("image", "image")), setting="table.trials"
    )
    trials = complete_trials(table, source=path, columns=settings.columns)
    study = number_images(trials, source=path)
    subjects = sorted(study.trials["subject"].unique())
    betas = _betas(source, study.trials, subjects, settings=settings)
    split = make_splits(
        study.trials, settings=settings.splits, kind="table", design=settings.design
    )
    files = find_images(source / settings.images, study.names, setting="table.images")
    images = ImageFiles(files, settings.stimuli)
    return SourceDataset(
        images=images,
        trials=study.trials.assign(split=split),
        design=settings.design,
        betas=betas,
        voxels={s: _voxels(source, s, betas[s].shape[1], settings=settings) for s in subjects},
        captions=study.captions or study.categories,
        categories=study.categories,
        zscored=settings.zscored,
        facts={"converted_images": images.conversions(setting="table.stimuli")},
    )


def _betas(
    source: Path, trials: pd.DataFrame, subjects: list[str], *, settings: TableSettings
) -> dict[str, Rows]:
    common = source / settings.betas
    shared = find_array(common)
    betas: dict[str, Rows] = {}
    for subject in subjects:
        rows = np.flatnonzero(trials["subject"] == subject)
        path = shared or find_array(common / subject)
        if path is None:
            raise ArtifactError(
                f"there are no betas of {subject}: neither {common} nor {common / subject}, "
                f"ending in one of {ARRAY_SUFFIXES}, exists. Save a matrix of (trials, voxels)."
            )
        name = subject if shared and len(subjects) > 1 else settings.variable
        matrix = open_matrix(path, name=name)
        if shared and len(subjects) > 1 and path.suffix == ".npy":
            raise ArtifactError(
                f"{path} is one matrix, but the table has the subjects {subjects}, which differ "
                f"in their voxels. Save one file per subject: {common / subject}.npy."
            )
        _check_rows(path, matrix.shape, n_trials=len(rows), subject=subject)
        betas[subject] = matrix
    return betas


def _check_rows(path: Path, shape: tuple[int, ...], *, n_trials: int, subject: str) -> None:
    if shape[0] == n_trials:
        return
    hint = (
        " It has as many columns as trials: save it transposed, as (trials, voxels)."
        if shape[1] == n_trials
        else " Row n of the betas belongs to the subject's nth row in the table: leave out trials "
        "on both sides or on neither."
    )
    raise ArtifactError(
        f"{path} has {shape[0]} rows of {shape[1]} voxels, but the table has {n_trials} trials of "
        f"{subject}.{hint}"
    )


def _voxels(source: Path, subject: str, n_voxels: int, *, settings: TableSettings) -> pd.DataFrame:
    names = (settings.voxels, f"{settings.voxels}/{subject}")
    paths = [
        p
        for name in names
        for suffix in ("", ".csv", ".tsv", ".parquet")
        if (p := source / f"{name}{suffix}").is_file()
    ]
    if not paths:
        return pd.DataFrame({"voxel": range(n_voxels)})
    table = read_table(paths[0], purpose="the table of voxels")
    if len(table) != n_voxels:
        raise ArtifactError(
            f"{paths[0]} has {len(table)} rows, but the betas of {subject} have {n_voxels} "
            "voxels; one row per voxel is needed, in the order of the betas' columns."
        )
    return table
