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

_BOLD = re.compile(r"(_(echo|part|space|res|desc)-[^_]+)*_bold\.nii(\.gz)?$")
"""What follows a run's stem in the names of its volumes."""


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

    folder: Path
    """Folder of the run's files, relative to the BIDS folder: ``sub-01/ses-a/func``."""

    stem: str
    """What the names of its files begin with: ``"sub-01_ses-a_task-look_run-1"``."""

    events: Path
    """The table: the run's own, or one that it inherits from a folder above."""


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
    root: Path,
    *,
    task: str | None,
    subject: str | None = None,
    kind: str = "bids",
    derivatives: Path | None = None,
) -> list[Run]:
    """Find the runs with events of their own or inherited ones, in order.

    `kind` begins the names of settings in messages. Runs that inherit events are known by their
    volumes, in the BIDS folder or in `derivatives`.
    """
    pattern = f"sub-{subject or '*'}"
    found = _event_tables(root, pattern=pattern, derivatives=derivatives)
    named = [(entities(Path(stem)), path, stem) for (_, stem), path in found.items()]
    folders = {stem: folder for folder, stem in found}
    tasks = sorted({labels.get("task", "") for labels, *_ in named})
    if task is not None:
        named = [run for run in named if run[0].get("task") == task]
    elif len(tasks) > 1:
        raise ArtifactError(
            f"{root} has events of the tasks {tasks}; choose one, e.g. --set "
            f"{kind}.events.task={tasks[-1]}."
        )
    if not named:
        raise ArtifactError(
            f"{root} has no events{f' of the task {task!r}' if task else ''}: no file "
            f"{pattern}/[ses-*/]func/*_events.tsv{f', only of {tasks}' if tasks else ''}. "
            "Give the BIDS folder with the event tables. A table above the runs' folders, e.g. "
            "task-<label>_events.tsv, is read where the runs' volumes (*_bold.nii.gz) are there."
        )
    runs = []
    for label in sorted({labels["sub"] for labels, *_ in named}):
        own = [run for run in named if run[0]["sub"] == label]
        sessions = _numbers([labels.get("ses", "1") for labels, *_ in own])
        for session, number in sessions.items():
            inside = [run for run in own if run[0].get("ses", "1") == session]
            counted = _numbers([d.get("run", "1") for d, *_ in inside])
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
                    folder=folders[stem],
                    stem=stem,
                    events=path,
                )
                for labels, path, stem in inside
            ]
    return sorted(runs, key=lambda r: (r.subject, r.session, r.run))


def _event_tables(
    root: Path, *, pattern: str, derivatives: Path | None
) -> dict[tuple[Path, str], Path]:
    """Return the table of events of each run that has one, by its folder and stem."""
    places = (f"{pattern}/func", f"{pattern}/*/func")
    own = {
        (path.parent.relative_to(root), path.name.removesuffix("_events.tsv")): path
        for place in places
        for path in sorted(root.glob(f"{place}/*_events.tsv"))
    }
    runs = {
        (path.parent.relative_to(top), _BOLD.sub("", path.name))
        for top in filter(None, (root, derivatives))
        for place in places
        for path in top.glob(f"{place}/*_bold.nii*")
    }
    inherited = {}
    for folder, stem in sorted(runs - own.keys()):
        path = _inherited(root, folder, entities(Path(stem)))
        if path is not None:
            inherited[folder, stem] = path
    # A table beside several runs, sub-01_task-look_events.tsv, is theirs and no run itself.
    shared = set(inherited.values())
    return {
        **{run: path for run, path in own.items() if path not in shared or run in runs},
        **inherited,
    }


def _inherited(root: Path, folder: Path, labels: Mapping[str, str]) -> Path | None:
    """Find the nearest table, from a run's folder up, whose entities are all the run's.

    This is the inheritance principle of BIDS.
    """
    for level in (root / folder, *(root / parent for parent in folder.parents)):
        found = [
            path
            for path in sorted(level.glob("*_events.tsv"))
            if entities(path).items() <= labels.items()
        ]
        if len(found) > 1:
            raise ArtifactError(
                f"{level} has {len(found)} tables of events for one run, "
                f"{[path.name for path in found]}: BIDS allows one at each level. Remove the "
                "others, or name them after the runs that they belong to."
            )
        if found:
            return found[0]
    return None


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
