"""Evaluation protocols: which scores, computed how, and with which others they compare."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["PROTOCOLS", "REGIONS", "Protocol"]

REGIONS = {
    "visual": "visual cortex",
    "V1": "V1",
    "V2": "V2",
    "V3": "V3",
    "V4": "V4",
    "higher": "higher visual cortex",
}
"""Regions of the brain correlation: label."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to score reconstructions. Scores of two protocols are never compared."""

    name: str
    """Value of ``evaluate.protocol``."""
    summary: str
    """What it is, in a phrase for tables."""
    networks: bool = True
    """Score by the paper's networks; otherwise by those that pip installs."""
    antialias: bool = False
    """Antialias where images are reduced."""
    tie: float = 0.0
    """Value of a tie in two-way identification."""
    retrieval: Literal["calibrated", "published"] = "published"
    """Calibrated by training images in the whole gallery, or raw cosine of the retrieval head in
    galleries of 300."""
    references: Literal["published", "first"] = "published"
    """Reference captions: the published string of each image, or the data set's first."""
    n_images: int | None = 1000
    """Images of its test set, where that is fixed."""
    rows: str | None = None
    """Protocol of the published rows that stand beside a run."""


PROTOCOLS: dict[str, Protocol] = {
    p.name: p
    for p in (
        Protocol(
            name="laptop",
            summary="networks that pip installs; calibrated retrieval",
            networks=False,
            tie=0.5,
            retrieval="calibrated",
            references="first",
            n_images=None,
        ),
        Protocol(
            name="v1",
            summary="the paper's networks on antialiased images; calibrated retrieval in the "
            "whole gallery; ties count half",
            antialias=True,
            tie=0.5,
            retrieval="calibrated",
            references="first",
            n_images=None,
        ),
        Protocol(
            name="mindeye2-2024",
            summary="as Scotti et al. 2024: 256 pixels without antialiasing, retrieval among 300, "
            "one published reference caption an image",
            rows="mindeye2-2024",
        ),
        Protocol(
            name="mindeye2-2024-first-caption",
            summary="as mindeye2-2024, with the first COCO caption of the data set as reference",
            references="first",
        ),
        Protocol(
            name="mindeye1-982",
            summary="as mindeye2-2024, on the 982 shared images of the first 37 sessions",
            n_images=982,
            rows="mindeye1-982",
        ),
    )
}
"""Protocol by its name."""
