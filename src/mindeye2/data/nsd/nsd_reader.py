"""Reader of the Natural Scenes Dataset: betas, trials, voxels, stimuli."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int64

from mindeye2.data.arrays import ConcatenatedRows
from mindeye2.data.nsd.facts import SESSIONS, TERMS, TRIALS, VOXELS
from mindeye2.data.nsd.masks import read_mask, read_voxels
from mindeye2.data.nsd.nsd_images import NsdImages, check_stimuli, read_captions
from mindeye2.data.nsd.nsd_settings import NsdSettings
from mindeye2.data.nsd.nsd_trials import read_stim_info, read_trials
from mindeye2.data.nsd.sessions import SessionBetas, check_session
from mindeye2.data.nsd.tree import Tree, find_subjects
from mindeye2.data.source_dataset import Rows, SourceDataset
from mindeye2.data.splits import choose_sessions, split_chosen

__all__ = ["read_nsd"]


def read_nsd(source: Path, *, settings: NsdSettings) -> SourceDataset:
    """Read the Natural Scenes Dataset as far as it was downloaded.

    Betas and stimuli are opened here and read later, session by session. Differences from the
    full release are listed in the notes, not refused.

    Parameters
    ----------
    source
        The folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``.
    settings
        Subjects, sessions, version of the betas, region.

    Returns
    -------
    SourceDataset
        Betas in percent signal change.

    Raises
    ------
    ArtifactError
        If files are missing, damaged, or do not fit each other.
    ValueError
        If there is no such subject.
    """
    tree = Tree(Path(source), settings)
    found = find_subjects(tree)
    tables, betas, voxels = [], {}, {}
    for subject, files in found.items():
        trials = _choose_trials(read_trials(tree, subject, sessions=list(files)), settings)
        ijk, shape = read_mask(tree, subject)
        betas[subject] = _betas(files, trials, ijk, shape=shape)
        voxels[subject] = read_voxels(tree, subject, ijk, shape=shape)
        tables.append(trials)
    trials, used = split_chosen(
        pd.concat(tables, ignore_index=True),
        held_out="shared1000",
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
    )
    ids = np.unique(used["source_image"].to_numpy())
    check_stimuli(tree.stimuli, ids)
    captions, caption_notes = _captions(tree, ids)
    counts = {subject: _counts(used, subject, voxels[subject]) for subject in found}
    return SourceDataset(
        images=NsdImages(path=tree.stimuli, ids=ids, size=settings.image_size),
        trials=trials,
        betas=betas,
        voxels=voxels,
        captions=captions,
        label=(
            f"Real fMRI: Natural Scenes Dataset (Allen et al. 2022), {settings.betas}, "
            f"{settings.roi}; tested on the shared images, protocol {settings.protocol}."
        ),
        notes=[TERMS, *_notes(counts, settings, tree), *caption_notes],
        facts={"terms": TERMS, "protocol": settings.protocol, "counts": counts},
    )


def _choose_trials(trials: pd.DataFrame, settings: NsdSettings) -> pd.DataFrame:
    """Choose training and test trials; other trials of a session serve z-scoring (``scaling``)."""
    chosen = choose_sessions(
        trials,
        test=trials["shared1000"].to_numpy(bool),
        train_sessions=settings.train_sessions,
        test_sessions=settings.test_sessions,
    )
    if settings.protocol == 982:
        chosen = chosen[~chosen["shared1000"] | chosen["protocol_982"]]
    return chosen


def _betas(
    files: dict[int, Path],
    trials: pd.DataFrame,
    ijk: Int64[np.ndarray, "voxels 3"],
    *,
    shape: tuple[int, ...],
) -> Rows:
    sessions: list[Rows] = []
    for session, path in files.items():
        check_session(path, shape=shape)
        # The index counts all trials of the sessions, those outside the protocol included.
        own = trials.index[trials["session"] == session].to_numpy()
        kept = own - TRIALS * len(sessions)
        sessions.append(SessionBetas(path=path, ijk=ijk, kept=kept.astype(np.int64)))
    return ConcatenatedRows(sessions)


def _captions(tree: Tree, ids: Int64[np.ndarray, " images"]) -> tuple[list[str] | None, list[str]]:
    folder = tree.captions()
    if tree.settings.captions is None and not folder.is_dir():
        return None, [
            f"Without captions: COCO's are not part of the release and not in {folder}. "
            "Captions cannot be retrieved without them."
        ]
    if not tree.stim_info.exists():
        raise tree.missing([tree.stim_info])
    return read_captions(folder, read_stim_info(tree.stim_info), ids), []


def _counts(trials: pd.DataFrame, subject: str, voxels: pd.DataFrame) -> dict[str, object]:
    """Count sessions, trials, voxels and images of a subject, for the manifest."""
    own = trials[trials["subject"] == subject]
    test = own[own["shared1000"]]
    times = test["source_image"].value_counts()
    return {
        "sessions": sorted(own["session"].unique().tolist()),
        "train_sessions": sorted(own.loc[~own["shared1000"], "session"].unique().tolist()),
        "trials": len(own),
        "voxels": len(voxels),
        "images": int(own["source_image"].nunique()),
        "test_images": len(times),
        "test_images_shown_three_times": int((times >= 3).sum()),
        "test_images_of_protocol_982": int(
            test.loc[test["protocol_982"], "source_image"].nunique()
        ),
        "test_trials": len(test),
        "test_trials_of_protocol_982": int(test["protocol_982"].sum()),
    }


def _notes(counts: dict[str, dict[str, object]], settings: NsdSettings, tree: Tree) -> list[str]:
    notes = []
    for subject, count in counts.items():
        present = count["sessions"]
        assert isinstance(present, list)
        lacking = sorted(set(range(1, SESSIONS[subject] + 1)) - set(present))
        part = f"{len(present)} of {SESSIONS[subject]} sessions" if lacking else "all sessions"
        fewer = count["train_sessions"] != present
        trained = f" ({count['train_sessions']} to train on)" if fewer else ""
        notes.append(
            f"{subject}: {part}{trained}, {count['trials']} trials, {count['voxels']} voxels, "
            f"{count['images']} images; test: {count['test_images']} of the shared images in "
            f"{count['test_trials']} trials, {count['test_images_shown_three_times']} of them "
            "three times."
        )
        plain = settings.space == "func1pt8mm" and not settings.roi_labels
        if settings.roi == "nsdgeneral" and plain and count["voxels"] != VOXELS[subject]:
            notes.append(
                f"{subject}: nsdgeneral has {count['voxels']} voxels here, {VOXELS[subject]} in "
                "the release. Published weights for it will not fit."
            )
        without = [a for a in settings.atlases if not tree.roi(subject, a).exists()]
        if without:
            notes.append(
                f"{subject}: no labels of {', '.join(without)}; they were not downloaded."
            )
    return notes
