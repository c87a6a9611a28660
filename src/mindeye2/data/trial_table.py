"""A lab's own table of trials -> the columns that the prepared data set has."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from mindeye2.core.errors import ArtifactError

__all__ = ["StudyTable", "complete_trials", "number_images", "read_table"]

_READ = {".csv": ",", ".tsv": "\t", ".txt": "\t"}

OPTIONAL = ("subject", "session", "run", "trial", "split", "caption", "category")
"""What a table may have besides ``image``; any other column is kept as it is."""


@dataclass(frozen=True, kw_only=True)
class StudyTable:
    """Trials whose images are numbered."""

    trials: pd.DataFrame
    """Has ``image``, a number, and ``source_image``, the name."""

    names: list[str]
    """Name of each image."""

    captions: list[str] | None
    """One per image, or None where the table has none."""

    categories: list[str] | None
    """One per image, or None where the table has none."""


def read_table(
    path: Path, *, text: Collection[str] = (), purpose: str = "the trial table"
) -> pd.DataFrame:
    """Read a table.

    Parameters
    ----------
    path
        A ``.csv``, ``.tsv``, ``.txt`` (tabs) or ``.parquet`` file.
    text
        Columns that stay text although they look like numbers: ``0012`` is a name.
    purpose
        What it is, for messages.

    Returns
    -------
    pandas.DataFrame
        As in the file; ``n/a``, which BIDS writes, is missing.

    Raises
    ------
    ArtifactError
        If it is missing, empty or not a table.
    """
    if not path.is_file():
        raise ArtifactError(
            f"{purpose} {path} does not exist. Write one row per trial, in the order of the "
            "betas' rows, with at least a column 'image'; docs/data.md shows one."
        )
    if path.suffix not in {*_READ, ".parquet"}:
        raise ArtifactError(
            f"{purpose} {path} must be one of {[*_READ, '.parquet']}, got {path.suffix!r}."
        )
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            kept = dict.fromkeys(text, str)
            table = pd.read_csv(path, sep=_READ[path.suffix], dtype=kept)
    # Pandas and pyarrow report a damaged file by whichever of these they run into.
    except (ValueError, OSError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise ArtifactError(f"{purpose} {path} cannot be read as a table ({error}).") from error
    if not len(table):
        raise ArtifactError(f"{purpose} {path} has no rows. Write one row per trial.")
    return table


def complete_trials(
    table: pd.DataFrame, *, source: Path, columns: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Rename, check and complete the columns of a table of trials.

    Parameters
    ----------
    table
        One row per trial.
    source
        Where it was read, for messages.
    columns
        The table's name of each of our columns that is called otherwise, e.g.
        ``{"image": "stim_file"}``.

    Returns
    -------
    pandas.DataFrame
        With text ``subject`` and ``image`` and whole numbers ``session``, ``run``, ``trial``.
        What the table lacks is one subject ``subj01``, one session, one run, and trials counted
        within their session.

    Raises
    ------
    ArtifactError
        If a column is missing, a value is missing or of the wrong kind, or a trial comes twice.
    """
    for ours, theirs in (columns or {}).items():
        if ours not in {"image", *OPTIONAL}:
            raise ArtifactError(
                f"the setting 'columns' names {ours!r}; it takes {['image', *OPTIONAL]}, each "
                "with the table's own name for it."
            )
        if theirs not in table:
            raise ArtifactError(
                f"{source} has no column {theirs!r}, which the setting 'columns' gives for "
                f"{ours!r}; it has {list(table.columns)}."
            )
        # A column of that name that is not the one meant would come twice.
        table = table.drop(columns=[ours] if ours in table and ours != theirs else [])
        table = table.rename(columns={theirs: ours})
    if "image" not in table:
        raise ArtifactError(
            f"{source} has no column 'image'; it has {list(table.columns)}. It holds the name of "
            "the picture shown in each trial. If it is called otherwise, say so with the setting "
            "'columns', e.g. columns={image: stim_file}."
        )
    used = [c for c in ("image", "subject", "session", "run", "trial", "split") if c in table]
    empty = table[used].isna()
    if empty.any(axis=None):
        rows = (np.flatnonzero(empty.any(axis=1))[:5] + 2).tolist()
        raise ArtifactError(
            f"{source} has empty values in {sorted(empty.columns[empty.any()])} (lines {rows}). "
            "Fill them in; trials without a picture must be left out of the table and the betas."
        )
    table = table.assign(image=table["image"].astype(str), subject=_subjects(table, source=source))
    for name in ("session", "run"):
        table[name] = _whole(table, name, source=source) if name in table else 1
    if "trial" in table:
        table["trial"] = _whole(table, "trial", source=source)
    else:
        table["trial"] = table.groupby(["subject", "session"]).cumcount() + 1
    twice = table.duplicated(["subject", "session", "run", "trial"])
    if twice.any():
        row = table[twice].iloc[0]
        raise ArtifactError(
            f"{source} has {int(twice.sum())} trials that were listed before: the first is trial "
            f"{row['trial']} in run {row['run']} of session {row['session']} of "
            f"{row['subject']}. Each trial is one row, as each is one row of the betas."
        )
    return table


def _subjects(table: pd.DataFrame, *, source: Path) -> pd.Series:
    if "subject" not in table:
        return pd.Series("subj01", index=table.index)
    column = table["subject"]
    if pd.api.types.is_integer_dtype(column):
        return column.map("subj{:02d}".format)
    names = column.astype(str)
    bad = names[~names.str.fullmatch(r"[\w-]+")].unique().tolist()
    if bad:
        raise ArtifactError(
            f"{source} names the subjects {bad[:5]}; letters, digits, '-' and '_' are accepted, "
            "because files are called after them."
        )
    return names


def _whole(table: pd.DataFrame, name: str, *, source: Path) -> pd.Series:
    numbers = pd.to_numeric(table[name], errors="coerce")
    bad = numbers.isna() | (numbers < 1) | (numbers != numbers.round())
    if bad.any():
        raise ArtifactError(
            f"{source} has {str(table[name][bad].iloc[0])!r} in the column {name!r} (line "
            f"{int(np.flatnonzero(bad)[0]) + 2}); whole numbers from 1 are accepted."
        )
    return numbers.astype(np.int64)


def number_images(trials: pd.DataFrame, *, source: Path) -> StudyTable:
    """Give each image a number, and count its repeats.

    Parameters
    ----------
    trials
        What `complete_trials` returned; the rows of a subject in the order of its betas.
    source
        Where it was read, for messages.

    Returns
    -------
    StudyTable
        Images in the order of their names.

    Raises
    ------
    ArtifactError
        If an image has more than one caption or category.
    """
    names = sorted(trials["image"].unique())
    row = {name: i for i, name in enumerate(names)}
    numbered = trials.assign(source_image=trials["image"], image=trials["image"].map(row))
    # Repeats count in the order of presentation, whatever the order of the rows.
    ordered = numbered.sort_values(["subject", "session", "run", "trial"], kind="stable")
    numbered["repeat"] = ordered.groupby(["subject", "image"]).cumcount()
    return StudyTable(
        trials=numbered.drop(columns="caption", errors="ignore").reset_index(drop=True),
        names=names,
        captions=_per_image(numbered, "caption", source=source),
        categories=_per_image(numbered, "category", source=source),
    )


def _per_image(
    trials: pd.DataFrame, column: Literal["caption", "category"], *, source: Path
) -> list[str] | None:
    if column not in trials:
        return None
    by_image = trials.assign(**{column: trials[column].fillna("")}).groupby("image")
    several = by_image[column].nunique()
    if (several > 1).any():
        image = by_image["source_image"].first()[several > 1].iloc[0]
        raise ArtifactError(
            f"{source} gives {int((several > 1).sum())} images more than one {column} (first: "
            f"{image!r}). Give every trial of an image the same one."
        )
    return by_image[column].first().astype(str).tolist()
