"""Trials of LAION-fMRI, session by session, checked against the number of volumes."""

from pathlib import Path

import numpy as np
import pandas as pd

from mindeye2.core.errors import ArtifactError
from mindeye2.data.trial_table import read_released_table

__all__ = ["read_laion_trials"]

_COLUMNS = ["session", "run", "beta_index", "label"]


def read_laion_trials(path: Path, *, subject: str, session: int, n_volumes: int) -> pd.DataFrame:
    """Read the trials of one session in the order of its volumes.

    Columns: ``subject, session, run, trial`` (from 1, within the run), ``source_image`` (the name
    of the file) and ``beta_index`` (the volume, from 0). Sessions differ in length, so an index
    can only be checked within each.
    """
    table = read_released_table(
        path, _COLUMNS, text=["session", "run", "label"], purpose="the table of trials"
    )
    numbers = {name: _numbers(table, name, path) for name in ("session", "run", "beta_index")}
    others = sorted({*numbers["session"]} - {session})
    if others:
        raise ArtifactError(
            f"{path} has trials of session {others[0]}, but is in the folder of session "
            f"{session}. Put each file back into its own folder."
        )
    table = table.assign(**numbers)
    _check_index(table["beta_index"].to_numpy(), path=path, n_volumes=n_volumes)
    table = table.sort_values("beta_index", ignore_index=True)
    back = np.flatnonzero(np.diff(table["run"]) < 0)
    if len(back):
        row = table.iloc[back[0] + 1]
        raise ArtifactError(
            f"{path} goes back from run {table['run'].iloc[back[0]]} to run {row['run']} at "
            f"beta_index {row['beta_index']}: volumes are in the order of presentation, so the "
            "index was shifted or shuffled. Download the file again."
        )
    return pd.DataFrame(
        {
            "subject": subject,
            "session": session,
            "run": table["run"],
            "trial": table.groupby("run").cumcount() + 1,
            "source_image": table["label"],
            "beta_index": table["beta_index"],
        }
    )


def _numbers(table: pd.DataFrame, name: str, path: Path) -> pd.Series:
    """Return whole numbers, with or without a label in front: ``ses-01`` is 1."""
    text = table[name].astype(str).str.replace(r"^[a-z]+-", "", regex=True)
    numbers = pd.to_numeric(text, errors="coerce")
    if (numbers.isna() | (numbers != numbers.round())).any():
        bad = table[name][numbers.isna() | (numbers != numbers.round())].iloc[0]
        raise ArtifactError(
            f"{path} has {bad!r} in the column {name!r}; whole numbers are accepted, with a "
            "label in front such as ses-01. Take the file as distributed."
        )
    return numbers.astype(np.int64)


def _check_index(index: np.ndarray, *, path: Path, n_volumes: int) -> None:
    """Check that each volume of a session belongs to one trial."""
    values, counts = np.unique(index, return_counts=True)
    twice = values[counts > 1]
    if len(twice):
        raise ArtifactError(
            f"{path} lists {len(twice)} volumes twice, the first is beta_index {twice[0]}. Each "
            "volume is the response of one trial: download the file again."
        )
    if len(index) != n_volumes:
        raise ArtifactError(
            f"{path} has {len(index)} trials, but the betas beside it have {n_volumes} volumes. "
            "They must be one to one: download both again."
        )
    if not np.array_equal(values, np.arange(n_volumes)):
        raise ArtifactError(
            f"{path} counts beta_index from {values[0]} to {values[-1]}; the {n_volumes} volumes "
            f"are 0 to {n_volumes - 1}. A shifted index gives every response the image of "
            "another trial: take the file as distributed."
        )
