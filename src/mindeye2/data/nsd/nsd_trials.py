"""Trials of the Natural Scenes Dataset: responses, design and stimulus table, which must agree."""

from pathlib import Path

import numpy as np
import pandas as pd

from mindeye2.core.errors import ArtifactError
from mindeye2.data.nsd.facts import SHARED, TRIALS, old_sessions, runs
from mindeye2.data.nsd.tree import Tree

__all__ = ["read_stim_info", "read_trials"]

_COUNTED = ["SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID"]
"""Columns of ``responses.tsv`` that are whole numbers in every row."""

_BEHAVIOUR = [
    *("TIME", "ISOLD", "ISCORRECT", "RT", "CHANGEMIND", "MEMORYRECENT", "MEMORYFIRST"),
    *("ISOLDCURRENT", "ISCORRECTCURRENT", "TOTAL1", "TOTAL2", "BUTTON", "MISSINGDATA"),
]
"""The other columns; NaN e.g. where button presses were lost."""


def read_trials(tree: Tree, subject: str, *, sessions: list[int]) -> pd.DataFrame:
    """Read the trials of some sessions, 750 each, in the order of presentation.

    Columns: ``subject, session, run, trial``; ``source_image``, counted from 0; ``shared1000``,
    the image is one of the shared ones; ``protocol_982``, the trial is a test trial of the older
    protocol; and the behavioural columns of the release.
    """
    path = tree.responses(subject)
    planned = _from_design(tree.design, subject) if tree.design.exists() else None
    if path.exists():
        trials = _from_responses(path, subject, sessions=sessions)
        if planned is not None:
            _compare(trials, planned, files=(path, tree.design))
    else:
        assert planned is not None, "find_subjects wants one of the two"
        trials = planned[planned["SESSION"].isin(sessions)]
    if tree.stim_info.exists():
        _compare_info(trials, read_stim_info(tree.stim_info), path=tree.stim_info)
    trials = trials.reset_index(drop=True)
    shared = trials["10KID"] <= SHARED
    behaviour = trials.drop(columns=["SUBJECT", "SESSION", "RUN", "TRIAL"])
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "subject": subject,
                    "session": trials["SESSION"],
                    "run": trials["RUN"],
                    "trial": trials["TRIAL"],
                    "source_image": trials["73KID"] - 1,
                    "shared1000": shared,
                    "protocol_982": shared & (trials["SESSION"] <= old_sessions(subject)),
                }
            ),
            behaviour,
        ],
        axis=1,
    )


def read_stim_info(path: Path) -> pd.DataFrame:
    """Read the table of stimuli, indexed by ``nsdId``."""
    table = pd.read_csv(path)
    lacking = [c for c in ("nsdId", "cocoId", "cocoSplit", "shared1000") if c not in table]
    if lacking:
        raise ArtifactError(
            f"{path} has no column {lacking}; it has {list(table.columns)[:12]}. Take "
            "nsd_stim_info_merged.csv as distributed."
        )
    return table.set_index("nsdId")


def _from_responses(path: Path, subject: str, *, sessions: list[int]) -> pd.DataFrame:
    """Read the recorded trials; the index is the planned trial, from 0."""
    table = pd.read_csv(path, sep="\t")
    if list(table.columns) != _COUNTED + _BEHAVIOUR:
        raise ArtifactError(
            f"{path} has the columns {list(table.columns)}; they must be {_COUNTED + _BEHAVIOUR}, "
            "separated by tabs. Take the file as distributed."
        )
    # A file that was cut off ends in the middle of a row.
    if table[_COUNTED].isna().to_numpy().any():
        row = int(np.argmax(table[_COUNTED].isna().any(axis=1)))
        raise ArtifactError(
            f"{path} lacks numbers in line {row + 2}, where no presentation has any: it was not "
            "downloaded to its end. Download it again."
        )
    table = table.astype(dict.fromkeys(_COUNTED, np.int64))
    table = table.sort_values(["SESSION", "RUN", "TRIAL"], kind="stable", ignore_index=True)
    others = sorted(set(table["SUBJECT"]) - {int(subject[-2:])})
    if others:
        raise ArtifactError(
            f"{path} has trials of subject {others[0]}, but is in the folder of {subject}. "
            "Put each subject's file back into its own folder."
        )
    counts = table["SESSION"].value_counts()
    for session in sessions:
        if counts.get(session, 0) != TRIALS:
            raise ArtifactError(
                f"{path} has {counts.get(session, 0)} trials of session {session}; every session "
                f"of the release has {TRIALS}, and its betas too. Download the file again."
            )
    table = table[table["SESSION"].isin(sessions)]
    before = table.groupby("SESSION").cumcount()
    return table.set_index((table["SESSION"] - 1) * TRIALS + before)


def _from_design(path: Path, subject: str) -> pd.DataFrame:
    """Compute the planned trials, recorded or not; the index counts them from 0."""
    from scipy.io import loadmat

    try:
        arrays = loadmat(path, variable_names=["masterordering", "subjectim"])
        # MATLAB stores integers in the smallest type: 255 + 1 would be 0.
        order = np.asarray(arrays["masterordering"]).ravel().astype(np.int64)
        images = np.asarray(arrays["subjectim"]).astype(np.int64)
        kid73 = images[int(subject[-2:]) - 1, order - 1]
    except (OSError, ValueError, TypeError, KeyError, IndexError, NotImplementedError) as error:
        raise ArtifactError(
            f"{path} is damaged or of another kind: {error!r}. Download it again."
        ) from error
    n_sessions = len(order) // TRIALS
    lengths = runs() * n_sessions
    table = pd.DataFrame(
        {
            "SUBJECT": int(subject[-2:]),
            "SESSION": np.repeat(np.arange(1, n_sessions + 1), TRIALS),
            "RUN": np.repeat(np.tile(np.arange(1, 13), n_sessions), lengths),
            "TRIAL": np.concatenate([np.arange(1, n + 1) for n in lengths]),
        }
    )
    return table.assign(**{"73KID": kid73[: len(table)], "10KID": order[: len(table)]})


def _compare(found: pd.DataFrame, planned: pd.DataFrame, *, files: tuple[Path, Path]) -> None:
    for column in ("73KID", "10KID"):
        expected = planned[column].reindex(found.index)
        differs = (found[column] != expected).to_numpy()
        if differs.any():
            row = found[differs].iloc[0]
            raise ArtifactError(
                f"{files[0]} and {files[1]} disagree: for session {row['SESSION']:.0f}, run "
                f"{row['RUN']:.0f}, trial {row['TRIAL']:.0f} they give {column} "
                f"{row[column]:.0f} and {expected[differs].iloc[0]:.0f}. One of them is of "
                "another subject or was changed: download both again."
            )


def _compare_info(trials: pd.DataFrame, info: pd.DataFrame, *, path: Path) -> None:
    shown = trials.drop_duplicates("73KID")
    shared = info["shared1000"].reindex(shown["73KID"] - 1).to_numpy()
    differs = shared != (shown["10KID"] <= SHARED).to_numpy()
    if differs.any():
        row = shown[differs].iloc[0]
        raise ArtifactError(
            f"{path} and the trials disagree on whether image {row['73KID']:.0f} (73KID) is "
            f"one of the shared 1000: its 10KID is {row['10KID']:.0f}. Download both again."
        )
    for repeat in range(3):
        column = f"subject{trials['SUBJECT'].iloc[0]}_rep{repeat}"
        if column not in info:
            continue
        # Planned trials counted from 1, recorded or not; 0 is never shown.
        numbers = info[column].fillna(0).astype(np.int64)
        numbers = numbers[numbers.isin(trials.index + 1)]
        given = trials["73KID"].reindex(numbers.to_numpy() - 1).to_numpy() - 1
        wrong = np.flatnonzero(given != numbers.index.to_numpy())
        if len(wrong):
            first = wrong[0]
            raise ArtifactError(
                f"{path} gives nsdId {numbers.index[first]} in {column} for trial "
                f"{numbers.iloc[first]}, but the trials give {given[first]}. Download both again."
            )
