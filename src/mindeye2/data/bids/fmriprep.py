"""fMRIPrep's files of a run: volumes, confounds, and the single-trial betas from them."""

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int, Int64

from mindeye2.core.errors import ArtifactError, require
from mindeye2.data.bids.bids_events import Run
from mindeye2.data.bids.single_trial_glm import GlmSettings, single_trial_betas
from mindeye2.data.trial_table import read_table

__all__ = ["RunBetas", "find_derivative", "open_run", "read_confounds"]


@dataclass(frozen=True)
class RunBetas:
    """Single-trial betas of one run, estimated when they are read."""

    bold: Path
    """The volumes."""

    confounds: Path | None
    """The table of confounds."""

    events: pd.DataFrame
    """Modelled trials: ``onset``, ``duration`` and ``image``."""

    voxels: Int64[np.ndarray, " voxels"]
    """Flat indices into a volume, the last axis running fastest."""

    columns: tuple[str, ...]
    """Confounds that are regressors."""

    glm: GlmSettings
    """The general linear model."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(trials, voxels)."""
        return (len(self), len(self.voxels))

    def __len__(self) -> int:
        """Return the number of trials that show an image."""
        return int(self.events["image"].notna().sum())

    def __getitem__(
        self, rows: slice | Int[np.ndarray, " trials"]
    ) -> Float32[np.ndarray, "trials voxels"]:
        """Estimate the betas of the run and return some trials."""
        image = open_run(self.bold)
        volumes = np.asarray(image.dataobj, dtype=np.float32)
        bold = volumes.reshape(-1, volumes.shape[3])[self.voxels].T
        del volumes
        shown = self.events["image"].notna().to_numpy()
        betas = single_trial_betas(
            bold,
            self.events,
            tr_seconds=_tr_seconds(self.bold, image),
            confounds=read_confounds(self.confounds, self.columns) if self.confounds else None,
            settings=self.glm,
            name=self.bold.name,
        )
        return betas[shown][rows]


def find_derivative(derivatives: Path, run: Run, *, ending: str, space: str | None = None) -> Path:
    """Find the derivative of a run, whose name has the same entities."""
    folder, stem = derivatives / run.folder, run.stem
    in_space = ending.endswith(".nii.gz")
    middle = f"_space-{space}*" if in_space and space else "*"
    found = sorted(folder.glob(f"{stem}{middle}_{ending}"))
    if not found:
        present = sorted(p.name for p in folder.glob("*_desc-preproc_bold.nii.gz"))
        raise ArtifactError(
            f"{folder} has no {stem}{middle}_{ending}, which belongs to {stem}"
            f"{f'; its runs: {present[:5]}' if present else ''}. fMRIPrep writes it: run it for "
            "this run, remove its events, or choose the space with the setting bids.space."
        )
    if len(found) > 1:
        raise ArtifactError(
            f"{stem} has {len(found)} derivatives: {[p.name for p in found]}. Choose "
            "one with the setting bids.space, e.g. --set bids.space=T1w."
        )
    return found[0]


def open_run(path: Path) -> Any:  # noqa: ANN401 - nibabel's image
    """Open the volumes of a run without reading them."""
    nibabel = require("nibabel", extra="data", purpose=f"Reading {path}")
    try:
        image = nibabel.load(path)
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged or no NIfTI file ({error}).") from error
    if len(image.shape) != 4:
        raise ArtifactError(f"{path} has the shape {image.shape}; a run has four axes.")
    return image


def _tr_seconds(path: Path, image: Any) -> float:  # noqa: ANN401 - nibabel's image
    """Return the repetition time from the JSON sidecar, else from the header."""
    sidecar = path.with_name(path.name.removesuffix(".nii.gz") + ".json")
    if sidecar.is_file():
        tr_sidecar = json.loads(sidecar.read_text()).get("RepetitionTime")
        if tr_sidecar:
            return float(tr_sidecar)
    tr = float(image.header.get_zooms()[3])
    if not 0.1 <= tr <= 20:
        raise ArtifactError(
            f"{path} has a repetition time of {tr:g} s in its header. Write it in seconds "
            f"into {sidecar.name} as {{'RepetitionTime': ...}}."
        )
    return tr


def read_confounds(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read columns of a table of confounds; 0 where a value is missing (first volumes)."""
    table = read_table(path, purpose="the confounds")
    missing = [c for c in columns if c not in table]
    if missing:
        near = difflib.get_close_matches(missing[0], map(str, table.columns), n=3)
        raise ArtifactError(
            f"{path} has no confounds {missing}{f'; the nearest are {near}' if near else ''}. The "
            "setting bids.confounds takes its column names."
        )
    return table[list(columns)].fillna(0.0)
