"""Reader of LAION-fMRI: betas, trials, voxels, and images or published embeddings of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int, Int64

from mindeye2.core.errors import ArtifactError
from mindeye2.data.arrays import ConcatenatedRows
from mindeye2.data.bids.dataset_description import recorded_version
from mindeye2.data.laion_fmri.laion_fmri_facts import SESSIONS, TERMS, target_name
from mindeye2.data.laion_fmri.laion_fmri_settings import LaionFmriSettings
from mindeye2.data.laion_fmri.laion_fmri_splits import assign_images, count_images, split_label
from mindeye2.data.laion_fmri.laion_fmri_stimuli import (
    open_embedding,
    open_images,
    read_laion_captions,
    read_names,
)
from mindeye2.data.laion_fmri.laion_fmri_tree import LaionTree, find_laion_sessions
from mindeye2.data.laion_fmri.laion_fmri_trials import read_laion_trials
from mindeye2.data.laion_fmri.laion_fmri_voxels import choose_voxels, drop_nan_voxels
from mindeye2.data.nifti_series import open_series, read_series, reporting_damage
from mindeye2.data.source_dataset import Rows, SourceDataset
from mindeye2.data.splits import choose_sessions, split_chosen

__all__ = ["read_laion_fmri"]


def read_laion_fmri(source: Path, *, settings: LaionFmriSettings) -> SourceDataset:
    """Read LAION-fMRI as far as it was downloaded.

    Betas and images are opened here and read later, session by session. Without the images, which
    are not public, the published embeddings of them are what can be decoded.

    Parameters
    ----------
    source
        The folder that holds ``derivatives`` and ``stimuli``.
    settings
        Subjects, sessions, voxels, split, embeddings.

    Returns
    -------
    SourceDataset
        Betas as GLMsingle estimated them, not z-scored.

    Raises
    ------
    ArtifactError
        If files are missing, damaged, or do not fit each other.
    ValueError
        If there is no such subject.
    """
    tree = LaionTree(Path(source), settings)
    sessions = find_laion_sessions(tree)
    names = read_names(tree.metadata)
    read = {s: _read_subject(tree, s, numbers, known={*names}) for s, numbers in sessions.items()}
    trials = pd.concat([r.trials for r in read.values()], ignore_index=True)
    trials = assign_images(trials, settings)
    split_counts = count_images(trials)
    trials, used = _split(trials, settings)
    images = np.unique(used["source_image"].to_numpy(str)).tolist()
    has_images = tree.images.exists()
    row_of = {name: row for row, name in enumerate(names)}
    has_captions = tree.captions.exists()
    return SourceDataset(
        images=open_images(
            tree.images,
            rows=np.array([row_of[name] for name in images], np.int64),
            n=len(names),
            size=settings.image_size,
        )
        if has_images
        else None,
        embeddings={
            target_name(name): open_embedding(tree.embedding(name), name=name, images=images)
            for name in settings.embeddings
        },
        trials=trials,
        betas={
            subject: _betas(r, trials[trials["subject"] == subject]) for subject, r in read.items()
        },
        voxels={subject: r.voxels for subject, r in read.items()},
        captions=read_laion_captions(tree.captions, images) if has_captions else None,
        label=(
            f"Real fMRI: LAION-fMRI (Zerbe et al. 2026), {'+'.join(settings.roi) or 'brain'}; "
            f"split {split_label(settings)}"
            f"{'' if has_images else '; published embeddings, without the images'}."
        ),
        notes=[TERMS, *_notes(tree, read, split_counts, has_images=has_images)],
        facts={
            "terms": TERMS,
            "image_split": split_label(settings),
            "split_images": split_counts,
            "declared": {subject: {"sessions": SESSIONS} for subject in read},
            "counts": {subject: _counts(used, r) for subject, r in read.items()},
            "glmsingle": recorded_version("GLMsingle", start=tree.glmsingle(), stop=tree.root)
            or "version not recorded",
        },
    )


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """Files of one subject."""

    name: str
    paths: dict[int, Path]
    trials: pd.DataFrame
    voxels: pd.DataFrame
    nan_voxels: dict[int, int]


@dataclass(frozen=True, kw_only=True)
class TrialVolumes:
    """Betas of one session's chosen voxels."""

    path: Path
    """NIfTI file with one volume per trial."""

    ijk: Int64[np.ndarray, "voxels 3"]
    """Position of each voxel in the volume."""

    volumes: Int64[np.ndarray, " trials"]
    """Volumes that are used, ascending, from 0."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(trials, voxels)."""
        return (len(self.volumes), len(self.ijk))

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.volumes)

    def __getitem__(
        self, rows: slice | Int[np.ndarray, " batch"]
    ) -> Float32[np.ndarray, "batch voxels"]:
        """Read some trials."""
        with reporting_damage(self.path):
            scale = open_series(self.path).dataobj
            stored = read_series(self.path, self.ijk, volumes=self.volumes[rows])
        values: Float32[np.ndarray, "batch voxels"] = stored.astype(np.float32)
        if (scale.slope, scale.inter) != (1, 0):
            values = values * np.float32(scale.slope) + np.float32(scale.inter)
        return values


def _read_subject(
    tree: LaionTree, subject: str, sessions: list[int], *, known: set[str]
) -> _Subject:
    paths = {session: tree.betas(subject, session) for session in sessions}
    shapes: dict[int, tuple[int, ...]] = {}
    for session, path in paths.items():
        with reporting_damage(path):
            shapes[session] = tuple(open_series(path).shape)
    grids = {shape[:3] for shape in shapes.values()}
    if len(grids) > 1:
        raise ArtifactError(
            f"the sessions of {subject} have volumes of the shapes {sorted(grids)}: some are of "
            "another subject or resolution. Download them again."
        )
    tables = []
    for session, shape in shapes.items():
        path = tree.trials(subject, session)
        table = read_laion_trials(path, subject=subject, session=session, n_volumes=shape[3])
        unknown = sorted({*table["source_image"]} - known)
        if unknown:
            raise ArtifactError(
                f"{path} shows {len(unknown)} images that {tree.metadata} does not list, the "
                f"first is {unknown[0]!r}. One of the two is of another release: download both "
                "again."
            )
        tables.append(table)
    voxels, nan_voxels = drop_nan_voxels(choose_voxels(tree, subject, shape=grids.pop()), paths)
    return _Subject(
        name=subject,
        paths=paths,
        trials=pd.concat(tables, ignore_index=True),
        voxels=voxels,
        nan_voxels=nan_voxels,
    )


def _split(trials: pd.DataFrame, settings: LaionFmriSettings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Assign splits; return all trials that are read, and those that are kept."""
    members = trials[trials["member"]]
    chosen = choose_sessions(
        members,
        test=members["test"].to_numpy(bool),
        train_sessions=settings.train_sessions,
        test_sessions=settings.test_sessions,
    )
    every, used = split_chosen(
        chosen,
        held_out="test",
        validation_fraction=settings.validation_fraction,
        seed=settings.seed,
    )
    drop = ["test", "member"]
    return every.drop(columns=drop).reset_index(drop=True), used.drop(columns=drop)


def _betas(subject: _Subject, trials: pd.DataFrame) -> Rows:
    ijk = subject.voxels[["i", "j", "k"]].to_numpy(np.int64)
    index = trials["beta_index"].groupby(trials["session"])
    volumes = {int(session): own.to_numpy(np.int64) for session, own in index}
    return ConcatenatedRows(
        [
            TrialVolumes(path=path, ijk=ijk, volumes=volumes[session])
            for session, path in subject.paths.items()
            if session in volumes
        ]
    )


def _counts(trials: pd.DataFrame, subject: _Subject) -> dict[str, object]:
    """Count sessions, trials, voxels and images of a subject, for the manifest."""
    own = trials[trials["subject"] == subject.name]
    return {
        "sessions": sorted(subject.paths),
        "trials": len(own),
        "voxels": len(subject.voxels),
        "nan_voxels_by_session": {str(s): n for s, n in subject.nan_voxels.items()},
        "images": int(own["source_image"].nunique()),
        "test_images": int(own.loc[own["split"] == "test", "source_image"].nunique()),
        "test_trials": int((own["split"] == "test").sum()),
    }


def _notes(
    tree: LaionTree, read: dict[str, _Subject], split_counts: dict[str, int], *, has_images: bool
) -> list[str]:
    notes = []
    for subject, own in read.items():
        lacking = sorted({*range(1, SESSIONS + 1)} - {*tree.sessions(subject)})
        if lacking:
            notes.append(
                f"{subject}: sessions {', '.join(map(str, lacking))} were not downloaded "
                f"({SESSIONS - len(lacking)} of {SESSIONS} are here). To get them: "
                f"{tree.command(tree.betas(subject, lacking[0]))}"
            )
        if own.nan_voxels:
            notes.append(
                f"{subject}: dropped voxels that are NaN in a session, at the edge of the brain: "
                + ", ".join(f"{n} in session {s}" for s, n in own.nan_voxels.items())
                + f"; {len(own.voxels)} voxels are left."
            )
    if split_counts["none"]:
        notes.append(
            f"{split_counts['none']} images are on neither side of the split "
            f"{split_label(tree.settings)!r}: their trials are left out."
        )
    if not has_images:
        notes.append(
            "Without images, which are not public: published embeddings "
            f"({', '.join(tree.settings.embeddings)}) are the targets. Train with --recipe "
            "embeddings; images can be retrieved, but no pictures generated."
        )
    if not tree.captions.exists():
        notes.append(f"Without captions. To get them: {tree.command(tree.captions)}")
    return notes
