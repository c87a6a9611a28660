"""Reader of THINGS-fMRI: responses, trials, voxels, images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mindeye2.core.errors import ArtifactError
from mindeye2.data.image_files import ImageFiles, find_images
from mindeye2.data.source_dataset import Rows, SourceDataset
from mindeye2.data.splits import split_held_out
from mindeye2.data.things_fmri.things_responses import TableBetas, find_block
from mindeye2.data.things_fmri.things_settings import ThingsFmriSettings
from mindeye2.data.trial_table import read_released_table

__all__ = ["read_things_fmri"]

SUBJECTS = ("sub-01", "sub-02", "sub-03")

TERMS = (
    "THINGS-fMRI: cite Hebart et al. 2023, doi 10.7554/eLife.82580. The THINGS images have terms "
    "of use of their own: https://osf.io/jum2f."
)

_FILES = ("ResponseData.h5", "StimulusMetadata.csv", "VoxelMetadata.csv")

_TRIALS = ["trial_type", "session", "run", "trial_id", "stimulus", "concept"]

_VOXELS = ["voxel_id", "voxel_x", "voxel_y", "voxel_z", "nc_singletrial", "nc_testset"]


def read_things_fmri(source: Path, *, settings: ThingsFmriSettings) -> SourceDataset:
    """Read THINGS-fMRI; the 100 images that every session repeats are the test.

    Parameters
    ----------
    source
        The folder that holds ``betas_csv`` and the images.
    settings
        Subjects, voxels, images.

    Returns
    -------
    SourceDataset
        Responses and images are read while they are prepared.

    Raises
    ------
    ArtifactError
        If files are missing, damaged, or do not fit each other.
    """
    source = Path(source)
    folder = source / "betas_csv"
    present = (s for s in SUBJECTS if (folder / f"{s}_{_FILES[0]}").exists())
    subjects: Sequence[str] = settings.subjects or tuple(present)
    wanted = [folder / f"{s}_{file}" for s in subjects or SUBJECTS[:1] for file in _FILES]
    if lacking := [path for path in wanted if not path.exists()]:
        listed = ", ".join(path.relative_to(source).as_posix() for path in lacking)
        raise ArtifactError(
            f"{source} lacks {listed}. Download the single-trial responses in table format, "
            "betas_csv.zip, from https://doi.org/10.25452/figshare.plus.20492835 and unpack them "
            f"there. {TERMS}"
        )
    tables: list[pd.DataFrame] = []
    betas: dict[str, Rows] = {}
    voxels: dict[str, pd.DataFrame] = {}
    for subject in subjects:
        trials = _read_trials(folder / f"{subject}_{_FILES[1]}", subject)
        every = _read_voxels(folder / f"{subject}_{_FILES[2]}")
        path = folder / f"{subject}_{_FILES[0]}"
        block = find_block(path, shape=(len(every), len(trials)))
        rows, voxels[subject] = _choose(every, settings, subject=subject)
        betas[subject] = TableBetas(path=path, block=block, voxels=rows, n_trials=len(trials))
        tables.append(trials)
    trials = split_held_out(
        pd.concat(tables, ignore_index=True),
        held_out="test",
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
    ).drop(columns="test")
    shown = trials.drop_duplicates("image").sort_values("image")
    pictures = source / settings.images
    names = [
        f"{concept}/{name}" if (pictures / concept).is_dir() else name
        for concept, name in zip(shown["concept"], shown["source_image"], strict=True)
    ]
    images = ImageFiles(
        find_images(pictures, names, setting="things_fmri.images"), settings.stimuli
    )
    concepts = shown["concept"].str.replace("_", " ").tolist()
    return SourceDataset(
        images=images,
        trials=trials,
        betas=betas,
        voxels=voxels,
        captions=concepts,
        categories=concepts,
        label="Real fMRI: THINGS-fMRI (Hebart et al. 2023); tested on 100 repeated images.",
        notes=[TERMS],
        facts={
            "terms": TERMS,
            "converted_images": images.conversions(setting="things_fmri.stimuli"),
        },
    )


def _read_trials(path: Path, subject: str) -> pd.DataFrame:
    table = read_released_table(path, _TRIALS, purpose="the metadata")
    if table["trial_id"].tolist() != list(range(len(table))):
        raise ArtifactError(
            f"{path} does not count trial_id from 0 without gaps; row n is the nth column of the "
            "responses. Take the file as distributed."
        )
    other = sorted({*table["trial_type"]} - {"train", "test"})
    if other:
        raise ArtifactError(
            f"{path} has trials of the type {other[0]!r}; the responses in table format have "
            "train and test only. Take the file as distributed."
        )
    within = table.groupby(["session", "run"]).cumcount() + 1
    return pd.DataFrame(
        {
            "subject": subject,
            "session": table["session"],
            "run": table["run"],
            "trial": within,
            "source_image": table["stimulus"].astype(str),
            "concept": table["concept"].astype(str),
            "test": table["trial_type"] == "test",
        }
    )


def _read_voxels(path: Path) -> pd.DataFrame:
    table = read_released_table(path, _VOXELS, purpose="the metadata")
    if table["voxel_id"].tolist() != list(range(len(table))):
        raise ArtifactError(
            f"{path} does not count voxel_id from 0 without gaps; row n is the nth row of the "
            "responses. Take the file as distributed."
        )
    return table


def _choose(
    table: pd.DataFrame, settings: ThingsFmriSettings, *, subject: str
) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the rows of the chosen voxels, and their voxel table."""
    lacking = [name for name in settings.roi if name not in table]
    if lacking:
        others = ("prf-", "glasser-")
        regions = [c for c in map(str, table) if c not in _VOXELS and not c.startswith(others)]
        raise ArtifactError(
            f"the voxel metadata of {subject} have no region {lacking}; they have {regions}, and "
            "areas of Glasser's atlas as glasser-V1 etc. Set things_fmri.roi to some of these."
        )
    inside = table[list(settings.roi)].to_numpy() > 0
    chosen = inside.any(axis=1) if settings.roi else np.ones(len(table), bool)
    if settings.min_noise_ceiling is not None:
        chosen &= (table["nc_singletrial"] >= settings.min_noise_ceiling).to_numpy()
    rows = np.flatnonzero(chosen).astype(np.int64)
    if not len(rows):
        raise ArtifactError(
            f"no voxel of {subject} is in {list(settings.roi)} with a noise ceiling of at least "
            f"{settings.min_noise_ceiling} %. Lower things_fmri.min_noise_ceiling, or choose "
            "other regions."
        )
    own = table.iloc[rows].reset_index(drop=True)
    names = {"voxel_x": "i", "voxel_y": "j", "voxel_z": "k"}
    kept = own.rename(columns=names)[["i", "j", "k", "nc_singletrial", "nc_testset"]]
    # Of overlapping regions the first: visual areas come before selective regions.
    first = inside[rows].argmax(axis=1) if settings.roi else np.zeros(len(rows), int)
    labels = np.array(settings.roi or ("brain",), object)[first]
    areas = np.full(len(own), "", object)
    for name in map(str, own):
        if name.startswith("glasser-"):
            areas[own[name].to_numpy() > 0] = name.removeprefix("glasser-")
    return rows, kept.assign(roi=labels, glasser=areas)
