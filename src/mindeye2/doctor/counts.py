"""Counts: the parts against each other, and against what the source declares."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mindeye2.core.errors import ArtifactError
from mindeye2.data.nsd.facts import SESSIONS, TRIALS, old_sessions
from mindeye2.data.prepared.consistency import check_trials
from mindeye2.doctor.finding import Finding, Level, first_few, remake
from mindeye2.doctor.study import Study

__all__ = ["DECLARED", "check_counts", "check_table"]

CHECK = "counts"

Counts = dict[str, dict[str, int]]
"""By subject: ``sessions`` and all ``trials``, or ``per_session`` trials, as far as declared."""


def _nsd(config: Mapping[str, Any]) -> Counts:
    chosen = config.get("nsd", {})
    asked = chosen.get("subjects") or SESSIONS
    # The protocol 982 leaves out trials of shared images.
    whole = {"per_session": TRIALS} if chosen.get("protocol", 1000) == 1000 else {}
    numbers = chosen.get("sessions")
    return {
        s: {
            "sessions": sum(n <= SESSIONS[s] for n in numbers) if numbers else SESSIONS[s],
            **whole,
        }
        for s in asked
    }


def _released(config: Mapping[str, Any]) -> Counts:
    chosen = config.get("released", {})
    asked = chosen.get("subjects") or SESSIONS
    old = chosen.get("test_set") == "test"
    return {s: {"sessions": old_sessions(s) if old else SESSIONS[s]} for s in asked}


def _simulated(config: Mapping[str, Any]) -> Counts:
    people = config["simulation"]
    trials = people["sessions"] * people["trials_per_session"]
    each = {
        "sessions": people["sessions"],
        "trials": trials + config["n_test"] * people["test_repeats"],
    }
    return {f"subj{n:02d}": each for n in range(1, people["n_subjects"] + 1)}


def _kriegeskorte92(_: Mapping[str, Any]) -> Counts:
    return {
        f"subj{person:02d}-session{session}": {"sessions": 1, "per_session": 92}
        for person in range(1, 5)
        for session in (1, 2)
    }


DECLARED: dict[str, Callable[[Mapping[str, Any]], Counts]] = {
    "kriegeskorte92": _kriegeskorte92,
    "nsd": _nsd,
    "released": _released,
    "simulated": _simulated,
}
"""What each kind of source declares, from its settings; a manifest's ``declared`` comes first."""


def check_counts(study: Study) -> list[Finding]:
    """Compare what is there with what the manifest and the source say.

    Parameters
    ----------
    study
        The open data set.

    Returns
    -------
    list of Finding
        What does not fit, or how many there are of each.
    """
    findings = [*_parts(study), *_per_image(study), *_against_source(study)]
    if not any(f.is_wrong for f in findings):
        n_trials = 0 if study.trials is None else len(study.trials)
        n_images = 0 if study.images is None else len(study.images)
        found = f"{len(study.betas)} subjects, {n_trials} trials, {n_images} images: all fit"
        findings.append(_finding(study, "ok", found))
    return findings


def _parts(study: Study) -> list[Finding]:
    """One row of betas a trial, one column a voxel."""
    findings = []
    for subject, n_voxels in study.prepared.n_voxels.items():
        betas = study.betas.get(subject)
        if betas is None:
            continue
        shape = f"betas are {betas.shape[0]} x {betas.shape[1]}"
        n_trials = 0
        if study.trials is not None:
            n_trials = int((study.trials["subject"] == subject).sum())
        if study.trials is not None and n_trials != len(betas):
            text = f"{shape}, but the table has {n_trials} trials: rows cannot be told apart"
            findings.append(_finding(study, "error", text, where=subject))
        table = study.voxels.get(subject)
        for what, count in (
            ("manifest", n_voxels),
            ("voxel table", betas.shape[1] if table is None else len(table)),
        ):
            if count != betas.shape[1]:
                text = f"{shape}, but the {what} says {count} voxels"
                findings.append(_finding(study, "error", text, where=subject))
    if study.trials is not None:
        unknown = sorted(set(study.trials["subject"]) - set(study.prepared.subjects))
        if unknown:
            text = f"the table has trials of {first_few(unknown)}, who have no betas"
            findings.append(_finding(study, "error", text))
    return findings


def _per_image(study: Study) -> list[Finding]:
    """One caption and one row of each target bank an image."""
    if study.images is None:
        return []
    counts: dict[str, int] = {}
    for place in sorted((study.folder / "targets").glob("*")):
        try:
            counts[f"targets/{place.name}"] = len(np.load(place / "values.npy", mmap_mode="r"))
            record = json.loads((place / "encoder.json").read_text())
        except (OSError, ValueError, EOFError):
            continue  # said among the files
        if record.get("done", len(study.images)) < len(study.images):
            counts[f"targets/{place.name}"] = int(record["done"])
    if (study.folder / "captions.parquet").exists():
        captions = pd.read_parquet(study.folder / "captions.parquet", columns=["image"])
        counts["captions.parquet"] = captions["image"].nunique()
    return [
        _finding(study, "error", f"{n} for {len(study.images)} images", where=name)
        for name, n in counts.items()
        if n != len(study.images)
    ]


def _against_source(study: Study) -> list[Finding]:
    """Tell what a partial download lacks, and sessions that are cut short."""
    config = study.manifest.get("config", {})
    declare = DECLARED.get(str(config.get("kind")))
    declared: Counts = study.manifest.get("declared") or (declare(config) if declare else {})
    if study.trials is None or not declared:
        return []
    findings = []
    lacking = sorted(set(declared) - set(study.prepared.subjects))
    if lacking:
        text = f"the source has {len(declared)} subjects; not here: {first_few(lacking)}"
        findings.append(_finding(study, "note", text))
    for subject in study.prepared.subjects:
        expected = declared.get(subject)
        if expected is None:
            continue
        lengths = study.trials_of(subject)["session"].value_counts().sort_index()
        found = _compare(lengths, expected)
        findings += [_finding(study, level, text, where=subject) for level, text in found]
    return findings


def _compare(lengths: pd.Series, expected: Mapping[str, int]) -> list[tuple[Level, str]]:
    """Compare the lengths of a subject's sessions with what is declared."""
    found: list[tuple[Level, str]] = []
    n_sessions, n_trials = len(lengths), int(lengths.sum())
    declared = expected.get("sessions", n_sessions)
    if n_sessions != declared:
        # Whole sessions that are not there are a partial download; too many are another source.
        level: Level = "note" if n_sessions < declared else "error"
        found.append((level, f"{n_sessions} sessions, the source declares {declared}"))
    elif n_trials != expected.get("trials", n_trials):
        text = f"{n_trials} trials, the source declares {expected['trials']}"
        found.append(("error", text))
    odd = lengths[lengths != expected.get("per_session", lengths)]
    if len(odd):
        listed = first_few(f"{session} has {n}" for session, n in odd.items())
        text = f"sessions of other than {expected['per_session']} trials: {listed}"
        found.append(("error", text))
    return found


def check_table(study: Study) -> list[Finding]:
    """Look for what is wrong inside the trial table.

    Parameters
    ----------
    study
        The open data set.

    Returns
    -------
    list of Finding
        What is wrong, or that the table is sound.
    """
    if study.trials is None:
        return []
    table, findings = study.trials.reset_index(drop=True), []
    try:
        n_images = len(study.images) if study.images is not None else int(table["image"].max()) + 1
        check_trials(table, n_images=n_images)
    except (ArtifactError, ValueError) as error:
        findings.append(_finding(study, "error", str(error), where="trials.parquet"))
    keys = ["subject", "session", "run", "trial"]
    twice = table[table.duplicated(keys)]
    if len(twice):
        first = ", ".join(f"{k} {twice.iloc[0][k]}" for k in keys)
        text = f"{len(twice)} trials are listed twice (first: {first})"
        findings.append(_finding(study, "error", text, where="trials.parquet"))
    ordered = table.sort_values(keys, kind="stable")
    earlier = ordered.groupby(["subject", "image"]).cumcount().reindex(table.index)
    wrong = table["repeat"] != earlier
    if wrong.any():
        row = table[wrong].iloc[0]
        text = (
            f"'repeat' does not count earlier presentations in {int(wrong.sum())} trials (first: "
            f"{row['subject']}, session {row['session']}, trial {row['trial']})"
        )
        findings.append(_finding(study, "warning", text, where="trials.parquet"))
    if not findings:
        sizes = table.groupby("split")["image"].nunique()
        listed = first_few(f"{n} {split}" for split, n in sizes.items())
        text = f"splits are disjoint in images: {listed}"
        findings.append(_finding(study, "ok", text, where="trials.parquet"))
    return findings


def _finding(study: Study, level: Level, found: str, *, where: str = "") -> Finding:
    mend = remake(study.manifest) if level in ("error", "warning") else ""
    return Finding(
        level=level, check=CHECK, where=where or study.folder.name, found=found, mend=mend
    )
