"""Names and sizes of the launch release of LAION-fMRI, to compare a download with."""

from mindeye2.data.prepared.reader import PUBLISHED

__all__ = ["BUCKET", "EMBEDDINGS", "SESSIONS", "SUBJECTS", "TERMS", "target_name"]

SUBJECTS = ("sub-01", "sub-03", "sub-05", "sub-06", "sub-07")
"""All subjects."""

SESSIONS = 30
"""Sessions of each subject that are public; 31 to 34 are held back."""

BUCKET = "s3://laion-fmri"
"""Public storage; the paths in it are those of a download."""

EMBEDDINGS = {"CLIP": 1024, "DINOv2": 1024, "PEcore": 1024, "SigLIP2": 1152}
"""Published embeddings of the images and their number of features."""

TERMS = (
    "LAION-fMRI: brain data, embeddings and captions are CC0; cite Zerbe, Roth, Mell, Herholz, "
    "Knapen and Hebart (VSS 2026), https://laion-fmri.hebartlab.com. The images are for "
    "non-commercial research, under the terms at https://laion-fmri.hebartlab.com/terms."
)
"""Shown whenever the data are read."""


def target_name(embedding: str) -> str:
    """Return the name of an embedding's folder in ``targets/``."""
    return f"{PUBLISHED}{embedding.lower()}"
