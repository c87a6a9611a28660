"""A lab's own trial table, completed to the columns of the prepared data set."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from mindeye2.core.errors import ArtifactError

__all__ = ["StudyTable", "complete_trials", "number_images", "read_released_table", "read_table"]

_READ = {".csv": ",", ".tsv": "\t", ".txt": "\t"}

OPTIONAL = ("subject", "session", "run", "trial", "split", "caption", "category")
"""Columns with a meaning besides ``image``; any other column is kept as it is."""


@dataclass(frozen=True, kw_only=True)
class StudyTable:
    """Trials with numbered images."""

    trials: pd.DataFrame
    """Has ``image``, a number, and ``source_image``, the name."""

    names: list[str]
    """Name of each image."""

    captions: list[str] | None
    """One per image, or None where the table has none."""

    categories: list[str] | None
    """One per image, or None where the table has none."""


def read_table(
    path: Path,
    *,
    text: Collection[str] = (),
    purpose: str = "the trial table",
    setting: str | None = None,
) -> pd.DataFrame:
    """Read a CSV, tab-separated or Parquet table; ``n/a`` is missing, `text` columns stay text.

    `setting` names the file, for messages.
    """
    if not path.is_file():
        others = [p.name for s in (*_READ, ".parquet") if (p := path.with_suffix(s)).is_file()]
        hint = f" {others[0]} is there: --set {setting}={others[0]}." if others and setting else ""
        raise ArtifactError(
            f"{purpose} {path} does not exist.{hint} Write one row per trial, in the order of the "
            "betas' rows, with at least a column 'image', e.g. the lines 'image,session' and "
            "'fig01.png,1'."
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
    # Pandas and pyarrow raise any of these for a damaged file.
    except (ValueError, OSError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise ArtifactError(f"{purpose} {path} cannot be read as a table ({error}).") from error
    if not len(table):
        raise ArtifactError(f"{purpose} {path} has no rows. Write one row per trial.")
    _check_separator(table, path, purpose=purpose)
    return table


def read_released_table(
    path: Path, columns: Sequence[str], *, text: Collection[str] = (), purpose: str
) -> pd.DataFrame:
    """Read a table of a public release; refuse one without some columns, or that was cut off."""
    table = read_table(path, text=text, purpose=purpose)
    lacking = [c for c in columns if c not in table]
    if lacking:
        raise ArtifactError(
            f"{path} has no column {lacking}; it has {list(table.columns)[:12]}. Take the file as "
            "distributed."
        )
    # A file that was cut off ends in the middle of a row.
    empty = table[list(columns)].isna().any(axis=1)
    if empty.any():
        raise ArtifactError(
            f"{path} lacks values in line {int(np.argmax(empty)) + 2}: it was not downloaded to "
            "its end. Download it again."
        )
    return table


def _check_separator(table: pd.DataFrame, path: Path, *, purpose: str) -> None:
    """Refuse one column whose name is a whole header, split by another character."""
    wanted = _READ.get(path.suffix)
    used = [c for c in (";", "\t", ",") if c != wanted and c in str(table.columns[0])]
    if wanted and used and len(table.columns) == 1:
        words = {";": "semicolons", "\t": "tabs", ",": "commas"}
        raise ArtifactError(
            f"{purpose} {path} separates its columns by {words[used[0]]}, but {path.suffix} is "
            f"read with {words[wanted]}. Save it with {words[wanted]}"
            f"{', or name it .tsv' if used[0] == chr(9) else ''}."
        )


def complete_trials(
    table: pd.DataFrame,
    *,
    source: Path,
    columns: Mapping[str, str] | None = None,
    kind: str = "table",
) -> pd.DataFrame:
    """Rename, check and complete the columns of a trial table.

    `columns` maps our name of a column to the table's; `kind` begins the names of settings in
    messages. Defaults: one subject ``subj01``, one session, one run, trials counted within their
    session.
    """
    for name, column in (columns or {}).items():
        if name not in {"image", *OPTIONAL}:
            raise ArtifactError(
                f"the setting {kind}.columns names {name!r}; it takes "
                f"{['image', *OPTIONAL]}, each mapped to its column in the table."
            )
        if column not in table:
            raise ArtifactError(
                f"{source} has no column {column!r}, which the setting {kind}.columns gives for "
                f"{name!r}; it has {list(table.columns)}."
            )
        # Another column that has our name would be a duplicate.
        table = table.drop(columns=[name] if name in table and name != column else [])
        table = table.rename(columns={column: name})
    if "image" not in table:
        raise ArtifactError(
            f"{source} has no column 'image'; it has {list(table.columns)}. It holds the name of "
            f"the image shown in each trial. If it has another name: "
            f"--set '{kind}.columns={{image: stim_file}}'."
        )
    used = [c for c in ("image", "subject", "session", "run", "trial", "split") if c in table]
    empty = table[used].isna()
    if empty.any(axis=None):
        rows = (np.flatnonzero(empty.any(axis=1))[:5] + 2).tolist()
        raise ArtifactError(
            f"{source} has empty values in {sorted(empty.columns[empty.any()])} (lines {rows}). "
            "Fill them in; trials without an image must be left out of the table and the betas."
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
            f"{source} has {int(twice.sum())} duplicate trials: the first is trial "
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
            "because files are named after them."
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
    """Assign numbers to images in the order of their names, and count repeats."""
    names = sorted(trials["image"].unique())
    row = {name: i for i, name in enumerate(names)}
    numbered = trials.assign(source_image=trials["image"], image=trials["image"].map(row))
    # Repeats are counted in the order of presentation, which need not be that of the rows.
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
