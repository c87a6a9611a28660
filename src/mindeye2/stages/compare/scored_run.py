"""Scores of one run, and whether those of two runs may be compared."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.stages.compare.training_facts import training_facts

__all__ = ["ScoredRun", "check_protocol", "check_same_images", "shared_metrics"]


class ScoredRun:
    """Scores of one run, and what it was trained on."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder, stage="evaluate")
        rows = json.loads((self.folder / "summary.json").read_text())
        self.summary: dict[str, dict[str, Any]] = {row["name"]: row for row in rows}
        table = pd.read_parquet(self.folder / "scores.parquet")
        self.table = table.sort_values("image", ignore_index=True)
        self.facts = training_facts(self.folder, self.manifest)

    @property
    def protocol(self) -> str:
        """Protocol of the scores."""
        return str(self.manifest["config"].get("protocol", "laptop"))

    @property
    def subject(self) -> str:
        """Subject whose responses were decoded."""
        return str(self.manifest["subject"])

    def scores(self, metric: str) -> Tensor:
        """Return one score per image, in the order of images."""
        return torch.tensor(self.table[metric].to_numpy()).double()


def shared_metrics(runs: Sequence[ScoredRun], chosen: Sequence[str]) -> list[str]:
    """Return the chosen metrics, or all that the runs share; ValueError if one was not computed.

    Floors and the reliability of the responses are left out, because they are the same in every
    run.
    """
    shared = [
        name
        for name in runs[0].summary
        if not name.endswith("_floor")
        and not name.startswith("repeat_")
        and all(name in run.summary for run in runs)
    ]
    unknown = [name for name in chosen if name not in shared]
    if unknown or not shared:
        raise ValueError(
            f"not all runs have scores of {unknown or 'any metric'}, only of {shared}."
        )
    return list(chosen) or shared


def check_protocol(first: ScoredRun, other: ScoredRun) -> None:
    """Refuse scores that were computed in different ways."""
    if first.protocol != other.protocol:
        raise ArtifactError(
            f"{first.folder} was scored by the protocol {first.protocol!r} and {other.folder} by "
            f"{other.protocol!r}: their scores are not comparable. Evaluate both by one protocol."
        )
    for key, what in (
        ("extractor_size", "feature extractors of two sizes"),
        ("sentence_encoder", "two sentence encoders"),
        ("design", "two designs, one of them with known images"),
        ("image_split", "two of the data set's splits of images"),
    ):
        _check_alike(first, other, key=key, what=what)


def check_same_images(first: ScoredRun, other: ScoredRun) -> None:
    """Refuse scores that cannot be paired image by image."""
    mine, theirs = set(first.table["image"]), set(other.table["image"])
    if mine != theirs:
        apart = sorted(mine ^ theirs)
        raise ArtifactError(
            f"{first.folder} has scores of {len(mine)} test images and {other.folder} of "
            f"{len(theirs)}; {len(apart)} are in one only, e.g. image {apart[0]}. Paired "
            "differences need the same images: reconstruct and evaluate the same split."
        )
    _check_alike(
        first, other, key="images_sha256", what="data sets with other images, or in another order"
    )


def _check_alike(first: ScoredRun, other: ScoredRun, *, key: str, what: str) -> None:
    pair = [run.manifest.get(key, run.manifest["config"].get(key)) for run in (first, other)]
    if pair[0] != pair[1] and None not in pair:
        raise ArtifactError(
            f"{first.folder} and {other.folder} were scored with {what} ({key}: {pair[0]} "
            f"and {pair[1]}). Evaluate both alike."
        )
