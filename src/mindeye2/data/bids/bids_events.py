"""File names and event tables of the Brain Imaging Data Structure (BIDS)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import Settings
from mindeye2.data.trial_table import read_table

__all__ = ["EventSettings", "Run", "find_runs", "read_events"]


class EventSettings(Settings):
    """Rows of BIDS event tables that are trials."""

    task: str | None = None
    """Task label in file names; needed where there are several tasks."""

    image: str = "stim_file"
    """Column of image names; ``n/a`` in rows that show no image."""

    drop: tuple[str, ...] = ()
    """Values of ``trial_type`` whose rows are not trials, e.g. ``[response, fixation]``."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of one session, with its table of events."""

    subject: str
    """Name in the prepared data set: ``"sub-01"``."""

    session: int
    """Counted from 1; the label itself where it is a number."""

    run: int
    """Counted from 1 within the session; the label where it is a number."""

    labels: Mapping[str, str]
    """Entities of the file name: ``{"sub": "01", "ses": "a", "task": "look", "run": "1"}``."""

    events: Path
    """The table."""


def entities(path: Path) -> dict[str, str]:
    """Read the BIDS entities of a file name, ``{"sub": "01", "task": "look", "run": "1"}``."""
    return dict(re.findall(r"(?:^|_)([a-z]+)-([A-Za-z0-9+]+)", path.name))


def _numbers(labels: list[str]) -> dict[str, int]:
    """Return a number per label: its own where these differ and start at 1, else its rank."""
    unique = sorted(set(labels))
    own = [int(label) if label.isdecimal() else 0 for label in unique]
    if min(own) >= 1 and len(set(own)) == len(own):
        return dict(zip(unique, own, strict=True))
    return {label: i for i, label in enumerate(unique, start=1)}


def find_runs(
    root: Path, *, task: str | None, subject: str | None = None, kind: str = "bids"
) -> list[Run]:
    """Find the runs with events, in order; `kind` begins the names of settings in messages."""
    pattern = f"sub-{subject or '*'}"
    tables = [p for f in ("func", "*/func") for p in root.glob(f"{pattern}/{f}/*_events.tsv")]
    named = [(entities(path), path) for path in tables]
    tasks = sorted({labels.get("task", "") for labels, _ in named})
    if task is not None:
        named = [(labels, p) for labels, p in named if labels.get("task") == task]
    elif len(tasks) > 1:
        raise ArtifactError(
            f"{root} has events of the tasks {tasks}; choose one, e.g. --set "
            f"{kind}.events.task={tasks[-1]}."
        )
    if not named:
        raise ArtifactError(
            f"{root} has no events{f' of the task {task!r}' if task else ''}: no file "
            f"{pattern}/[ses-*/]func/*_events.tsv{f', only of {tasks}' if tasks else ''}. "
            "Give the BIDS folder with the event tables."
        )
    runs = []
    for label in sorted({labels["sub"] for labels, _ in named}):
        own = [(labels, p) for labels, p in named if labels["sub"] == label]
        sessions = _numbers([labels.get("ses", "1") for labels, _ in own])
        for session, number in sessions.items():
            inside = [(d, p) for d, p in own if d.get("ses", "1") == session]
            counted = _numbers([d.get("run", "1") for d, _ in inside])
            if len(counted) < len(inside):
                raise ArtifactError(
                    f"sub-{label}, session {session}: {len(inside)} tables of events have the "
                    f"{len(counted)} run labels {sorted(counted)} ({inside[0][1].name}, ...). "
                    "Each run needs its own label run-."
                )
            runs += [
                Run(
                    subject=f"sub-{label}",
                    session=number,
                    run=counted[labels.get("run", "1")],
                    labels=labels,
                    events=path,
                )
                for labels, path in inside
            ]
    return sorted(runs, key=lambda r: (r.subject, r.session, r.run))


def read_events(run: Run, *, settings: EventSettings, kind: str = "bids") -> pd.DataFrame:
    """Read the events of a run in the order of onset; ``image`` is missing where none is shown."""
    table = read_table(run.events, text=[settings.image], purpose="the table of events")
    wanted = ["onset", "duration", settings.image, *(["trial_type"] if settings.drop else [])]
    missing = [name for name in wanted if name not in table]
    if missing:
        raise ArtifactError(
            f"{run.events} has no column {missing}; it has {list(table.columns)}. 'onset' and "
            "'duration' are seconds; the column of image names is the setting "
            f"{kind}.events.image."
        )
    if settings.drop:
        table = table[~table["trial_type"].isin(settings.drop)]
    numbers = table[["onset", "duration"]].apply(pd.to_numeric, errors="coerce")
    if not np.isfinite(numbers).all(axis=None):
        line = int(numbers.index[~np.isfinite(numbers).all(axis=1)][0]) + 2
        raise ArtifactError(
            f"{run.events} has an onset or duration that is not a number (line {line}); both are "
            "seconds from the first volume."
        )
    kept = table.drop(columns=["image", "subject", "session", "run"], errors="ignore")
    events = kept.assign(
        **numbers,
        image=table[settings.image],
        subject=run.subject,
        session=run.session,
        run=run.run,
    ).sort_values("onset", kind="stable")
    if events["onset"].duplicated().any():
        onset = events.loc[events["onset"].duplicated(), "onset"].iloc[0]
        raise ArtifactError(
            f"{run.events} has two trials that begin at {onset} s. Their responses cannot be "
            f"separated: drop rows that are not trials with the setting {kind}.events.drop."
        )
    return events.reset_index(drop=True)
