"""Numbers of subjects, sessions, trials, voxels and images: consistent, and as declared."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mindeye2.core.errors import ArtifactError
from mindeye2.data.nsd.facts import SESSIONS, TRIALS, old_sessions
from mindeye2.data.prepared.consistency import check_trials
from mindeye2.doctor.dataset_view import DatasetView
from mindeye2.doctor.finding import Finding, Level, first_few, rerun_command

__all__ = ["check_counts", "check_trial_table"]

Counts = dict[str, dict[str, int]]
"""By subject: ``sessions``, all ``trials`` and trials ``per_session``, where declared."""


def _nsd(config: Mapping[str, Any]) -> Counts:
    settings = config.get("nsd", {})
    train, test = (settings.get(f"{name}_sessions") or () for name in ("train", "test"))
    # The protocol 982 leaves out trials of shared images, chosen sessions trials of either kind.
    whole = settings.get("protocol", 1000) == 1000 and sorted(train) == sorted(test)
    complete = {"per_session": TRIALS} if whole else {}
    chosen = {*train, *test} if train and test else set()
    return {
        s: {
            "sessions": sum(n <= SESSIONS[s] for n in chosen) if chosen else SESSIONS[s],
            **complete,
        }
        for s in settings.get("subjects") or SESSIONS
    }


def _released(config: Mapping[str, Any]) -> Counts:
    settings = config.get("released", {})
    subjects, old = settings.get("subjects") or SESSIONS, settings.get("test_set") == "test"
    return {s: {"sessions": old_sessions(s) if old else SESSIONS[s]} for s in subjects}


def _simulated(config: Mapping[str, Any]) -> Counts:
    settings = config["simulation"]
    trials = settings["sessions"] * settings["trials_per_session"]
    trials += config["n_test"] * settings["test_repeats"]
    declared = {"sessions": settings["sessions"], "trials": trials}
    return {f"subj{n:02d}": declared for n in range(1, settings["n_subjects"] + 1)}


def _kriegeskorte92(_: Mapping[str, Any]) -> Counts:
    declared = {"sessions": 1, "per_session": 92}
    return {f"subj{n:02d}-session{session}": declared for n in range(1, 5) for session in (1, 2)}


DECLARED: dict[str, Callable[[Mapping[str, Any]], Counts]] = {
    "kriegeskorte92": _kriegeskorte92,
    "nsd": _nsd,
    "released": _released,
    "simulated": _simulated,
}
"""Counts that each kind of source declares, from its settings; a manifest's ``declared`` wins."""


def _finding(view: DatasetView, level: Level, found: str, *, where: str = "") -> Finding:
    fix = rerun_command(view.manifest) if level in ("error", "warning") else ""
    return Finding(level, "counts", where=where or view.folder.name, found=found, fix=fix)


def check_counts(view: DatasetView) -> list[Finding]:
    """Compare the parts of a data set with each other, the manifest and the source."""
    findings = [*_betas(view), *_per_image(view), *_against_source(view)]
    if not any(f.is_wrong for f in findings):
        n_trials = 0 if view.trials is None else len(view.trials)
        counted = f"{len(view.betas)} subjects, {n_trials} trials, {view.n_images or 0} images"
        findings.append(_finding(view, "ok", f"{counted}: consistent"))
    return findings


def _betas(view: DatasetView) -> list[Finding]:
    """Check that betas have one row per trial and one column per voxel."""
    findings = []
    for subject, betas in view.betas.items():
        shape = f"betas are {betas.shape[0]} x {betas.shape[1]}"
        n_trials = 0 if view.trials is None else (view.trials["subject"] == subject).sum()
        if view.trials is not None and n_trials != len(betas):
            text = f"{shape}, but the trial table has {n_trials} trials"
            findings.append(_finding(view, "error", text, where=subject))
        counts = {"manifest": view.prepared.n_voxels[subject]}
        if subject in view.voxels:
            counts["voxel table"] = len(view.voxels[subject])
        for name, count in counts.items():
            if count != betas.shape[1]:
                text = f"{shape}, but the {name} has {count} voxels"
                findings.append(_finding(view, "error", text, where=subject))
    if view.trials is not None:
        unknown = sorted(set(view.trials["subject"]) - set(view.prepared.subjects))
        if unknown:
            text = f"the trial table has trials of {first_few(unknown)}, but there are no betas"
            findings.append(_finding(view, "error", text))
    return findings


def _per_image(view: DatasetView) -> list[Finding]:
    """Check that each image has a caption and a row in each bank of targets."""
    if view.n_images is None:
        return []
    counts: dict[str, int] = {}
    for folder in sorted((view.folder / "targets").glob("*")):
        try:
            counts[f"targets/{folder.name}"] = len(np.load(folder / "values.npy", mmap_mode="r"))
            record = json.loads((folder / "encoder.json").read_text())
        except (OSError, ValueError, EOFError):
            continue  # `check_files` reports damaged files
        if record.get("done", view.n_images) < view.n_images:
            counts[f"targets/{folder.name}"] = int(record["done"])
    if (view.folder / "captions.parquet").exists():
        captions = pd.read_parquet(view.folder / "captions.parquet", columns=["image"])
        counts["captions.parquet"] = captions["image"].nunique()
    return [
        _finding(view, "error", f"{n} rows for {view.n_images} images", where=name)
        for name, n in counts.items()
        if n != view.n_images
    ]


def _against_source(view: DatasetView) -> list[Finding]:
    """Report what a partial download lacks, and incomplete sessions."""
    config = view.manifest.get("config", {})
    declare = DECLARED.get(str(config.get("kind")))
    declared: Counts = view.manifest.get("declared") or (declare(config) if declare else {})
    if view.trials is None or not declared:
        return []
    findings = []
    missing = sorted(set(declared) - set(view.prepared.subjects))
    if missing:
        text = f"the source has {len(declared)} subjects; not here: {first_few(missing)}"
        findings.append(_finding(view, "note", text))
    for subject in view.prepared.subjects:
        if subject in declared:
            lengths = view.trials_of(subject)["session"].value_counts().sort_index()
            problems = _compare(lengths, declared[subject])
            findings += [_finding(view, level, text, where=subject) for level, text in problems]
    return findings


def _compare(lengths: pd.Series, declared: Mapping[str, int]) -> list[tuple[Level, str]]:
    """Compare the numbers of trials of a subject's sessions with what is declared."""
    problems: list[tuple[Level, str]] = []
    n_sessions, n_trials = len(lengths), int(lengths.sum())
    n_declared = declared.get("sessions", n_sessions)
    if n_sessions != n_declared:
        # Missing sessions are a partial download; too many are another source.
        level: Level = "note" if n_sessions < n_declared else "error"
        problems.append((level, f"{n_sessions} sessions, the source declares {n_declared}"))
    elif n_trials != declared.get("trials", n_trials):
        problems.append(("error", f"{n_trials} trials, the source declares {declared['trials']}"))
    odd = lengths[lengths != declared.get("per_session", lengths)]
    if len(odd):
        listed = first_few(f"{session} has {n}" for session, n in odd.items())
        text = f"sessions with other than {declared['per_session']} trials: {listed}"
        problems.append(("error", text))
    return problems


def check_trial_table(view: DatasetView) -> list[Finding]:
    """Check images, splits, duplicate rows and repeat numbers of the trial table."""
    if view.trials is None:
        return []
    table, problems = view.trials.reset_index(drop=True), list[tuple[Level, str]]()
    try:
        n_images = int(table["image"].max()) + 1 if view.n_images is None else view.n_images
        check_trials(table, n_images=n_images, design=view.prepared.design)
    except (ArtifactError, ValueError) as error:
        problems.append(("error", str(error)))
    keys = ["subject", "session", "run", "trial"]
    twice = table[table.duplicated(keys)]
    if len(twice):
        first = ", ".join(f"{k} {twice.iloc[0][k]}" for k in keys)
        problems.append(("error", f"{len(twice)} trials are listed twice (first: {first})"))
    ordered = table.sort_values(keys, kind="stable")
    earlier = ordered.groupby(["subject", "image"]).cumcount().reindex(table.index)
    wrong = table[table["repeat"] != earlier]
    if len(wrong):
        row = wrong.iloc[0]
        text = (
            f"'repeat' does not count earlier presentations in {len(wrong)} trials (first: "
            f"{row['subject']}, session {row['session']}, trial {row['trial']})"
        )
        problems.append(("warning", text))
    if not problems:
        sizes = table.groupby("split")["image"].nunique()
        listed = first_few(f"{n} {split}" for split, n in sizes.items())
        rule = "known images" if view.prepared.known_images else "splits are disjoint in images"
        problems.append(("ok", f"{rule}: {listed}"))
    return [_finding(view, level, text, where="trials.parquet") for level, text in problems]
