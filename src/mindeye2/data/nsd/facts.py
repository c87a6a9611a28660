"""What the full release of the Natural Scenes Dataset holds, to compare a download with."""

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
"""Trials of every session, without exception."""

IMAGES = 73_000
"""Pictures in ``imgBrick``."""

SHARED = 1000
"""10KID up to this are the pictures meant for everybody: the test set."""

SCALE = 300
"""Betas are stored as int16: percent signal change times this, in both file formats; no header
says so."""

TERMS = (
    "Natural Scenes Dataset: whoever uses it accepts its terms and conditions "
    "(https://cvnlab.slite.page/p/IB6BSeW_7o/Terms-and-Conditions), fills in its access form "
    "(https://forms.gle/xue2bCdM9LaFNMeb7) and cites Allen et al. 2022, doi "
    "10.1038/s41593-021-00962-x."
)
"""Shown whenever the data are read."""


def old_sessions(subject: str) -> int:
    """Return how many sessions were public before the last three of each subject were released.

    Parameters
    ----------
    subject
        E.g. ``"subj01"``.

    Returns
    -------
    int
        37, 29 or 27: the sessions behind the protocol that is known by its 982 test images.
    """
    return SESSIONS[subject] - 3


def runs() -> list[int]:
    """Return the number of trials of each run of a session.

    Returns
    -------
    list of int
        Twelve numbers, 750 in all.
    """
    return [63, 62] * 6
