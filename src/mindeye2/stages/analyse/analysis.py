"""What every analysis is given, and what it returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from mindeye2.data.prepared import Prepared, open_prepared
from mindeye2.models.checkpoint import LoadedRun
from mindeye2.stages.analyse.decoding_folder import Decoding, open_decoding

__all__ = ["Analysis", "AnalysisJob", "Point", "Steps"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a learning curve."""

    data: Path
    """Prepared data set."""
    subject: str
    """Subject to train on and to decode."""
    n_trials: int
    """The first so many training trials."""
    init: Path | None
    """Pretrained run to adapt; None fits a ridge to the subject alone."""
    out: Path
    """Folder of the point."""
    images: bool
    """Generate and score images."""


@dataclass(frozen=True)
class Steps:
    """Steps of other stages that analyses run; stages do not import each other."""

    load_run: Callable[[Path], LoadedRun]
    """Opens the brain decoder of a run or of imported weights."""
    decode: Callable[..., tuple[np.ndarray, list[str] | None]]
    """Generates images and captions for betas as those of a reconstruction: is given that, the
    betas, ``seed`` and ``device``."""
    fit_and_score: Callable[[Point, str], Path]
    """Trains, decodes and scores one point of a learning curve; returns the folder of scores."""


@dataclass(frozen=True)
class AnalysisJob:
    """Folders, device and steps of one analysis."""

    source: Path
    """Folder that is analysed."""
    data: Path | None
    """Prepared data set, where it is not the recorded one."""
    out: Path
    """Folder to fill."""
    device: torch.device
    """Where to compute."""
    steps: Steps
    """Steps of other stages."""
    reads: Literal["reconstruct", "prepare"] = "reconstruct"
    """Stage that made the source."""
    init: Path | None = None
    """Pretrained run."""

    @cached_property
    def decoding(self) -> Decoding:
        """The source as a finished reconstruction."""
        return open_decoding(self.source, data=self.data)

    @cached_property
    def prepared(self) -> Prepared:
        """The data set: the source itself, or that of the reconstruction."""
        if self.reads == "prepare":
            return open_prepared(self.source)
        return self.decoding.prepared


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Result of an analysis."""

    title: str
    """Heading."""
    subject: str
    """Subject whose responses were analysed."""
    lines: Sequence[str]
    """Findings in words and numbers, one to four lines."""
    tables: Mapping[str, pd.DataFrame]
    """Tables by file name without suffix."""
    figure: str
    """A self-contained SVG."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further entries of the manifest."""
