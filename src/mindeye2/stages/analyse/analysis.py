"""What every analysis is given, and what it returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from mindeye2.models.checkpoint import LoadedRun
from mindeye2.stages.analyse.decoding import Decoding, open_decoding

__all__ = ["Analysis", "AnalysisJob", "Steps"]


@dataclass(frozen=True)
class Steps:
    """Steps of other stages that analyses run; stages do not import each other."""

    load_run: Callable[[Path], LoadedRun]
    """Opens the brain decoder of a run or of imported weights."""


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

    @cached_property
    def decoding(self) -> Decoding:
        """The source as a finished reconstruction."""
        return open_decoding(self.source, data=self.data)


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Result of an analysis."""

    title: str
    """Heading."""
    lines: Sequence[str]
    """Findings in words and numbers, one to four lines."""
    tables: Mapping[str, pd.DataFrame]
    """Tables by file name without suffix."""
    figure: str
    """A self-contained SVG."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further entries of the manifest."""
