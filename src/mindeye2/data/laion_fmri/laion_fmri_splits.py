"""The release's splits of images, from JSON files that the user downloads."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mindeye2.core.errors import ArtifactError
from mindeye2.data.laion_fmri.laion_fmri_settings import LaionFmriSettings

__all__ = ["assign_images", "count_images", "split_label"]

SHARED = "shared"
"""Our split: the images that all subjects saw are the test."""

_PREFIX = "shared_"
"""Names of the images that all subjects saw begin so."""

_OOD = "shared_4rep_OOD_"
"""Names of out-of-distribution images begin so, and go on with their type."""


@dataclass(frozen=True)
class _ImageSplit:
    """Training and test images of one split, by name."""

    train: frozenset[str]
    test: frozenset[str]


def split_label(settings: LaionFmriSettings) -> str:
    """Return the name of the split that labels every run."""
    if settings.split == SHARED:
        return SHARED
    folder = settings.splits_file is not None and settings.splits_file.is_dir()
    pool = f" (pool {settings.pool})" if folder else ""
    return " ".join([settings.split, *sorted(settings.ood_types)]) + pool


def assign_images(trials: pd.DataFrame, settings: LaionFmriSettings) -> pd.DataFrame:
    """Add ``test`` and ``member`` to trials: test images, and images of either side of the split.

    Raises ``ArtifactError`` where a file is missing, damaged or of another split, subjects
    disagree on an image, or no trial is on one of the sides.
    """
    if settings.ood_types and settings.split != "ood":
        raise ArtifactError(
            f"laion_fmri.ood_types={list(settings.ood_types)} has no effect on the split "
            f"{settings.split!r}. Set laion_fmri.split=ood, or leave ood_types out."
        )
    if settings.split == SHARED:
        if settings.splits_file is not None:
            raise ArtifactError(
                f"laion_fmri.splits_file={settings.splits_file} has no effect on the split "
                "'shared'. Name one of its splits, e.g. --set laion_fmri.split=tau."
            )
        test = trials["source_image"].str.startswith(_PREFIX)
        return _checked(trials.assign(test=test, member=True), settings)
    parts = []
    for subject, own in trials.groupby("subject", sort=False):
        split = _read_split(settings, str(subject))
        parts.append(
            own.assign(
                test=own["source_image"].isin(split.test),
                member=own["source_image"].isin(split.test | split.train),
            )
        )
    return _checked(pd.concat(parts), settings)


def _checked(trials: pd.DataFrame, settings: LaionFmriSettings) -> pd.DataFrame:
    members = trials[trials["member"]]
    sides = members.groupby("source_image")["test"].nunique()
    both = sides.index[sides > 1].tolist()
    if both:
        raise ArtifactError(
            f"{len(both)} images are training images of one subject and test images of another "
            f"in the split {settings.split!r} (first: {both[0]!r}): each subject's pool is split "
            "on its own. Prepare subjects one by one, or the pool that all share, with --set "
            "laion_fmri.pool=shared."
        )
    for side, found in (("test", members["test"]), ("training", ~members["test"])):
        if not found.any():
            raise ArtifactError(
                f"no trial shows a {side} image of the split {settings.split!r}. Give the files "
                "of the split of these subjects, or more sessions."
            )
    return trials


def _read_split(settings: LaionFmriSettings, subject: str) -> _ImageSplit:
    path = settings.splits_file
    if path is None:
        raise ArtifactError(
            f"the split {settings.split!r} is a file of the release, not of this package. "
            "Download it from https://github.com/ViCCo-Group/LAION-fMRI, folder "
            f"laion_fmri/splits/data/{subject} (or shared): {settings.split}.json, and give it "
            "with --set laion_fmri.splits_file=FILE; or give the folder laion_fmri/splits/data."
        )
    if path.is_dir():
        pool = subject if settings.pool == "subject" else SHARED
        path = path / pool / f"{settings.split}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        name, of_pool = str(found["name"]), str(found["pool"])
        (variant,) = found["variants"]
        train, test = ([str(n) for n in variant[f"{side}_ids"]] for side in ("train", "test"))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path} does not exist. Give with --set laion_fmri.splits_file=... a JSON file of "
            "the release's splits, or the folder that holds <pool>/<split>.json."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} is damaged or no split of LAION-fMRI: {error!r}. Download it again."
        ) from error
    _check_file(path, settings, subject, name=name, pool=of_pool)
    if overlap := sorted({*train} & {*test}):
        raise ArtifactError(
            f"{path} has {len(overlap)} images on both sides, the first is {overlap[0]!r}. "
            "Download it again."
        )
    if settings.ood_types:
        test = [name for name in test if _ood_type(name) in settings.ood_types]
    return _ImageSplit(frozenset(train), frozenset(test))


def _ood_type(name: str) -> str:
    return name.removeprefix(_OOD).partition("_")[0]


def _check_file(
    path: Path, settings: LaionFmriSettings, subject: str, *, name: str, pool: str
) -> None:
    if name != settings.split:
        raise ArtifactError(
            f"{path} is the split {name!r}, but laion_fmri.split is {settings.split!r}. Set both "
            "to one split."
        )
    if pool.startswith("sub-") and not pool.startswith(subject):
        raise ArtifactError(
            f"{path} is of the pool {pool!r}, not of {subject}. Give the file of {subject}, or "
            "the folder laion_fmri/splits/data with the files of all subjects."
        )


def count_images(trials: pd.DataFrame) -> dict[str, int]:
    """Count the images on each side of the split, and those on none."""
    shown = trials.drop_duplicates("source_image")
    return {
        "test": int((shown["test"] & shown["member"]).sum()),
        "training": int((~shown["test"] & shown["member"]).sum()),
        "none": int((~shown["member"]).sum()),
    }
