"""Size of the data that a training reads: of a prepared data set, or of NSD."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mindeye2.data.prepared import Prepared

__all__ = ["DataSize", "nsd_size", "prepared_size"]

NSD_VOXELS = {
    "subj01": 15_724,
    "subj02": 14_278,
    "subj03": 15_226,
    "subj04": 13_153,
    "subj05": 13_039,
    "subj06": 17_907,
    "subj07": 12_682,
    "subj08": 14_386,
}
"""Voxels of nsdgeneral at 1.8 mm (Scotti et al. 2024, appendix A.2)."""

NSD_SESSIONS = {f"subj{i:02d}": n for i, n in enumerate((40, 40, 32, 30, 40, 32, 40, 30), 1)}
"""Sessions of 750 trials with released betas (Allen et al. 2022)."""

NSD_IMAGES = 73_000


@dataclass(frozen=True, kw_only=True)
class DataSize:
    """Counts of a data set's subjects, trials and images."""

    source: str
    """Where the counts come from, in words."""

    n_voxels: dict[str, int]
    """Voxels of each subject."""

    n_trials: dict[str, int]
    """Trials of each subject in all splits, as they lie on disk."""

    n_sessions: int
    """Sessions of the subject that has most."""

    n_images: int
    """Stimuli, each with a row in every bank of targets."""

    @property
    def bytes_of_betas(self) -> int:
        """Return the bytes of all betas in float16."""
        return sum(2 * n * self.n_trials[s] for s, n in self.n_voxels.items())

    def bytes_of_bank(self, row_shape: Sequence[int]) -> int:
        """Return the bytes of a bank of targets in float16."""
        return 2 * self.n_images * math.prod(row_shape)

    def first(self, n_sessions: int) -> "DataSize":
        """Return the counts of some of the sessions, which are taken to be of equal length."""
        part = min(1.0, n_sessions / self.n_sessions)
        trials = {s: round(n * part) for s, n in self.n_trials.items()}
        return replace(self, n_trials=trials, n_sessions=min(n_sessions, self.n_sessions))

    def of(self, subjects: Sequence[str]) -> "DataSize":
        """Return the counts of some of `n_voxels`."""
        return replace(
            self,
            n_voxels={s: self.n_voxels[s] for s in subjects},
            n_trials={s: self.n_trials[s] for s in subjects},
        )


def nsd_size(voxels: Sequence[int] = ()) -> DataSize:
    """Return the counts of NSD, or of subjects with given voxel counts and 40 of its sessions."""
    if voxels:
        n_voxels = {f"subj{i:02d}": n for i, n in enumerate(voxels, 1)}
        sessions, source = dict.fromkeys(n_voxels, 40), "given voxels, sessions and images of NSD"
    else:
        n_voxels, sessions, source = NSD_VOXELS, NSD_SESSIONS, "NSD, as published"
    return DataSize(
        source=source,
        n_voxels=dict(n_voxels),
        n_trials={s: 750 * n for s, n in sessions.items()},
        n_sessions=max(sessions.values()),
        n_images=NSD_IMAGES,
    )


def prepared_size(prepared: Prepared) -> DataSize:
    """Return the counts of a prepared data set."""
    by_subject = prepared.trials.groupby("subject", observed=True)
    return DataSize(
        source=str(prepared.folder),
        n_voxels=prepared.n_voxels,
        n_trials={str(s): int(n) for s, n in by_subject.size().items()},
        n_sessions=int(by_subject["session"].nunique().max()),
        n_images=prepared.n_images,
    )
