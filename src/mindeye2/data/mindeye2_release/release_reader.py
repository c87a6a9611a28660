"""Reader of the data published with MindEye2: betas, stimuli, trials."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int64

from mindeye2.core.errors import ArtifactError, check_choice
from mindeye2.data.mindeye2_release.release_arrays import (
    PublishedBetas,
    PublishedImages,
    check_array,
)
from mindeye2.data.mindeye2_release.release_settings import ReleasedSettings
from mindeye2.data.mindeye2_release.tars import read_tar
from mindeye2.data.nsd.facts import IMAGES, SESSIONS, TERMS, TRIALS, VOXELS
from mindeye2.data.source_dataset import SourceDataset
from mindeye2.data.splits import split_held_out

__all__ = ["read_released"]

_IMAGES = "coco_images_224_float16.hdf5"
_CAPTIONS = "COCO_73k_annots_curated.npy"
_REPOSITORY = "pscotti/mindeyev2"


def read_released(source: Path, *, settings: ReleasedSettings) -> SourceDataset:
    """Read MindEye2's published files as far as they were downloaded.

    Parameters
    ----------
    source
        The folder that holds the HDF5 files and ``wds``.
    settings
        Subjects, sessions, test set.

    Returns
    -------
    SourceDataset
        Betas as published, z-scored.

    Raises
    ------
    ArtifactError
        If files are missing, damaged, or do not fit each other.
    ValueError
        If there is no such subject.
    """
    source = Path(source)
    found = _find(source, settings)
    tables, shapes = [], {}
    for subject, tars in found.items():
        shapes[subject] = check_array(_betas(source, subject), "betas", shape=(None, None))
        tables.append(_trials(source, subject, tars, n_rows=shapes[subject][0]))
    trials = split_held_out(
        pd.concat(tables, ignore_index=True),
        held_out="shared1000",
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
    )
    ids = np.unique(trials["source_image"].to_numpy())
    shape = check_array(source / _IMAGES, "images", shape=(None, 3, None, None))
    if ids[-1] >= shape[0]:
        raise ArtifactError(
            f"{source / _IMAGES} holds {shape[0]} images, but a trial shows image "
            f"{ids[-1]}; {IMAGES} were published. Download it again."
        )
    captions, caption_notes = _captions(source / _CAPTIONS, ids)
    betas = {}
    for subject in found:
        rows = trials.loc[trials["subject"] == subject, "global_trial"].to_numpy(np.int64)
        betas[subject] = PublishedBetas(
            path=_betas(source, subject), rows=rows, n_voxels=shapes[subject][1]
        )
    return SourceDataset(
        images=PublishedImages(path=source / _IMAGES, ids=ids, size=shape[2]),
        trials=trials,
        betas=betas,
        voxels={
            s: pd.DataFrame({"column": range(b.n_voxels), "roi": "nsdgeneral"})
            for s, b in betas.items()
        },
        captions=captions,
        zscored=True,
        label=(
            "Real fMRI: Natural Scenes Dataset (Allen et al. 2022), betas published with MindEye2 "
            f"(Scotti et al. 2024), test set {settings.test_set}."
        ),
        notes=[TERMS, *_notes(trials, shapes, settings), *caption_notes],
        facts={
            "terms": TERMS,
            "test_set": settings.test_set,
            "zscored_by": "the publishers, per session; the statistics are those of all sessions",
        },
    )


def _betas(source: Path, subject: str) -> Path:
    return source / f"betas_all_{subject}_fp32_renorm.hdf5"


def _find(source: Path, settings: ReleasedSettings) -> dict[str, list[Path]]:
    """Return the tar files of each subject, the one of test trials last."""
    for subject in settings.subjects:
        check_choice("released.subjects", subject, SESSIONS)
    chosen = settings.subjects or tuple(s for s in SESSIONS if _betas(source, s).exists())
    wanted = [source / _IMAGES]
    found = {}
    for subject in chosen or ("subj01",):
        folder = source / "wds" / subject
        present = sorted((int(p.stem), p) for p in folder.glob("train/*.tar") if p.stem.isdigit())
        released = [s for s in settings.train_sessions if s <= SESSIONS[subject]]
        train = [folder / "train" / f"{s - 1}.tar" for s in released] or [p for _, p in present]
        found[subject] = [
            *(train or [folder / "train/0.tar"]),
            folder / settings.test_set / "0.tar",
        ]
        wanted += [_betas(source, subject), *found[subject]]
    _check_exist(source, wanted)
    return found


def _check_exist(source: Path, wanted: Iterable[Path]) -> None:
    names = [path.relative_to(source).as_posix() for path in wanted if not path.exists()]
    if names:
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        raise ArtifactError(
            f"{source} lacks {shown}. Give as --source the folder of the published files; "
            f"download what is missing from https://huggingface.co/datasets/{_REPOSITORY}, e.g. "
            f"hf download {_REPOSITORY} {names[0]} --repo-type dataset --local-dir {source}. "
            f"{TERMS}"
        )


def _trials(source: Path, subject: str, tars: list[Path], *, n_rows: int) -> pd.DataFrame:
    """Read and check the trials of one subject, in the order of presentation."""
    tables = []
    for path in tars:
        table = read_tar(path)
        test = path is tars[-1]
        expected = None if test else int(path.stem) + 1
        wrong = (
            (table["subject"] != int(subject[-2:]))
            | (table["shared1000"] != test)
            | (table["global_trial"] // TRIALS + 1 != table["session"])
            | (table["global_trial"] >= n_rows)
            | (False if expected is None else table["session"] != expected)
        )
        if wrong.any():
            row = table[wrong].iloc[0]
            raise ArtifactError(
                f"{path} holds a trial of subject {row['subject']:.0f}, session "
                f"{row['session']:.0f}, GLOBAL TRIAL {row['global_trial']:.0f}, shared1000 "
                f"{row['shared1000']:.0f}, which does not belong there: it must be of {subject}, "
                f"{'shared' if test else f'session {expected}, not shared'}, with {TRIALS} trials "
                f"a session and {n_rows} rows of betas. Download the file again."
            )
        tables.append(table)
    trials = pd.concat(tables).sort_values("global_trial", ignore_index=True)
    twice = trials["global_trial"].duplicated()
    if twice.any():
        raise ArtifactError(
            f"GLOBAL TRIAL {trials.loc[twice, 'global_trial'].iloc[0]} of {subject} is listed "
            f"twice in the tar files of {source / 'wds' / subject}. Download them again."
        )
    trials = trials.rename(columns={"73k": "source_image"})
    return trials.assign(subject=subject, shared1000=trials["shared1000"] == 1)


def _captions(path: Path, ids: Int64[np.ndarray, " images"]) -> tuple[list[str] | None, list[str]]:
    """Read the first published caption of each image; a note where the file is missing."""
    if not path.exists():
        return None, [f"Without captions: {path.name} was not downloaded from {_REPOSITORY}."]
    try:
        texts = np.load(path, mmap_mode="r", allow_pickle=False)
        rows = texts[ids].reshape(len(ids), -1)
    except (ValueError, OSError, EOFError, IndexError) as error:
        raise ArtifactError(
            f"{path} is damaged or needs pickle, which is not read ({error}). Remove it, or "
            "download it again."
        ) from error
    return [next((str(t).strip() for t in row if str(t).strip()), "") for row in rows], []


def _notes(
    trials: pd.DataFrame, shapes: dict[str, tuple[int, ...]], settings: ReleasedSettings
) -> list[str]:
    notes = []
    for subject, shape in shapes.items():
        own = trials[trials["subject"] == subject]
        trained = own[~own["shared1000"]]
        test = own[own["shared1000"]]
        notes.append(
            f"{subject}: {trained['session'].nunique()} of {SESSIONS[subject]} sessions to train "
            f"on, {len(trained)} trials, {shape[1]} voxels; test: {len(test)} trials of "
            f"{test['source_image'].nunique()} images ({settings.test_set})."
        )
        if shape[1] != VOXELS[subject] or shape[0] != TRIALS * SESSIONS[subject]:
            notes.append(
                f"{subject}: betas of {shape}, published are {TRIALS * SESSIONS[subject]} trials "
                f"of {VOXELS[subject]} voxels."
            )
        counts = own.groupby("session").size()
        sessions = trained["session"].unique()
        short = [s for s in sessions if settings.test_set == "new_test" and counts[s] != TRIALS]
        if short:
            notes.append(
                f"{subject}: session {short[0]} has {counts[short[0]]} of {TRIALS} trials"
                + (f", and so have {len(short) - 1} others" if len(short) > 1 else "")
                + ": a tar file may have been cut off."
            )
    return notes
