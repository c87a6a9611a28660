"""Sizes of the full release of the Natural Scenes Dataset, to compare a download with."""

__all__ = [
    "IMAGES",
    "SCALE",
    "SESSIONS",
    "SHARED",
    "TERMS",
    "TRIALS",
    "VOXELS",
    "old_sessions",
    "runs",
]

SESSIONS: dict[str, int] = {
    "subj01": 40,
    "subj02": 40,
    "subj03": 32,
    "subj04": 30,
    "subj05": 40,
    "subj06": 32,
    "subj07": 40,
    "subj08": 30,
}
"""Sessions of each subject since August 2023."""

VOXELS: dict[str, int] = {
    "subj01": 15724,
    "subj02": 14278,
    "subj03": 15226,
    "subj04": 13153,
    "subj05": 13039,
    "subj06": 17907,
    "subj07": 12682,
    "subj08": 14386,
}
"""Voxels of nsdgeneral at 1.8 mm."""

TRIALS = 750
"""Trials of every session."""

IMAGES = 73_000
"""Images in ``imgBrick``."""

SHARED = 1000
"""Images with a 10KID up to this number are shown to all subjects: the test set."""

SCALE = 300
"""Factor between percent signal change and the stored int16 betas, in both file formats; no header
records it."""

TERMS = (
    "Natural Scenes Dataset: whoever uses it accepts its terms and conditions "
    "(https://cvnlab.slite.page/p/IB6BSeW_7o/Terms-and-Conditions), fills in its access form "
    "(https://forms.gle/xue2bCdM9LaFNMeb7) and cites Allen et al. 2022, doi "
    "10.1038/s41593-021-00962-x."
)
"""Shown whenever the data are read."""


def old_sessions(subject: str) -> int:
    """Return the number of sessions that were public until August 2023: 37, 29 or 27."""
    return SESSIONS[subject] - 3


def runs() -> list[int]:
    """Return the number of trials of each of the 12 runs of a session."""
    return [63, 62] * 6
