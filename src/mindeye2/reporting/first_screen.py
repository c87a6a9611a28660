"""What a reader should know first: how the decoder was trained, and one result in plain words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindeye2.core.artifacts import resolve_path
from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared import Prepared
from mindeye2.reporting.content import Comparison, Difference, ScoreRow
from mindeye2.reporting.figures import format_interval, format_number

__all__ = ["HEADLINE_SCORES", "compare_arms", "describe_training", "headline_sentence"]

HEADLINE_SCORES = (
    "known_image_single",
    "known_image",
    "image_top1",
    "image_given_brain_300",
    "image_top1_retrieval_head",
    "two_way_tokens",
)
"""Scores that the headline is made of, the first that was computed."""

_NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def headline_sentence(rows: Mapping[str, ScoreRow], *, n_trials: int | None = None) -> str:
    """Put the first of these scores into words, beside its chance level.

    Parameters
    ----------
    rows
        Scores by name.
    n_trials
        Single test trials, for known images.

    Returns
    -------
    str
        One sentence; empty where there is none of these scores.
    """
    name = next((n for n in HEADLINE_SCORES if n in rows), None)
    if name is None:
        return ""
    row = rows[name]
    n, chance = row.n or 100, row.chance or 0.5
    if name == "two_way_tokens":
        return (
            f"Of two images, the seen one was chosen in {100 * row.value:.0f} of 100 cases; by "
            "chance 50."
        )
    cases = (n_trials if name == "known_image_single" else None) or n
    hits, by_chance = round(row.value * cases), cases * chance
    guessed = f"{by_chance:.0f}" if by_chance >= 1 else f"{by_chance:.1f}"
    gallery = round(1 / chance)
    unit = {"known_image_single": "single trials", "known_image": "averaged responses"}
    what = f"{gallery} known images" if name in unit else f"{gallery}"
    return (
        f"The seen image was found among {what} in {hits} of {cases} {unit.get(name, 'cases')}; "
        f"by chance {guessed}."
    )


def compare_arms(comparison: Comparison) -> dict[str, str]:
    """Describe each arm in a line: what it is, its first score, and whether it is better.

    Parameters
    ----------
    comparison
        Arms, and their differences from the first one.

    Returns
    -------
    dict of str
        Line by the name of the arm, in their order; a difference whose interval includes 0 is
        called a tie.
    """
    shared = {row.metric for row in comparison.arms[0].rows}
    lines = {}
    for arm in comparison.arms:
        parts = [arm.explanation] if arm.explanation else []
        row = next((r for r in arm.rows if r.metric in shared), None)
        if row is not None:
            score = format_number(row.value, percent=row.percent, digits=row.digits)
            parts.append(f"{row.metric}: {score}")
            gaps = [d for d in comparison.differences if (d.b, d.metric) == (arm.name, row.metric)]
            parts += [_verdict_in_words(gap) for gap in gaps]
        lines[arm.name] = "; ".join(parts)
    return lines


def _verdict_in_words(gap: Difference) -> str:
    """Say how the second arm of a difference compares with the first."""
    interval = format_interval(
        -gap.high, -gap.low, percent=gap.percent, digits=gap.digits, signed=True
    )
    interval = interval.replace("%", "points")
    if gap.verdict == "tie":
        return f"a tie with {gap.a} ({interval})"
    size = format_number(abs(gap.value), percent=gap.percent, digits=gap.digits)
    word = "worse" if gap.verdict == "better" else "better"
    return f"{word} than {gap.a} by {size.replace('%', 'points')} ({interval})"


def describe_training(folder: Path, *, prepared: Prepared, subject: str) -> str:
    """Describe in half a sentence how a run was trained, e.g. on which subjects and trials.

    Empty for a folder that is no run of this package.
    """
    manifest = _manifest(folder)
    config = manifest.get("config", {})
    if manifest.get("stage") != "train" or config.get("task") not in {"shared", "adapt"}:
        return ""
    if config["task"] == "adapt":
        before = _pretraining(folder, config, prepared, subject=subject)
        return f"{before}, adapted to {subject} with {_amount(prepared, subject, config)}"
    subjects = config["subjects"] or prepared.subjects
    if len(subjects) == 1:
        return f"{_method(config)} on {_amount(prepared, subject, config)} of {subject} alone"
    return f"trained on {_number(len(subjects))} subjects, {subject} among them"


def _method(config: Mapping[str, Any]) -> str:
    """Say whether anything was trained step by step."""
    if config.get("train_body", True):
        return "trained without pretraining"
    linear = config.get("model", {}).get("n_blocks") == 0
    return "fitted by linear regression (ridge)" if linear else "fitted in closed form"


def _pretraining(
    folder: Path, config: Mapping[str, Any], prepared: Prepared, *, subject: str
) -> str:
    try:
        before = _manifest(resolve_path(str(config["init"]), folder=folder))
    except ArtifactError:  # the pretrained run was moved away; the page does not need it
        return "pretrained"
    if before.get("stage") != "train":
        return "published weights"
    subjects = before["config"].get("subjects") or prepared.subjects
    others = [s for s in subjects if s != subject]
    noun = "subject" if len(others) == 1 else "subjects"
    return f"trained on {_number(len(others))} other {noun}"


def _amount(prepared: Prepared, subject: str, config: Mapping[str, Any]) -> str:
    """Return sessions and trials that were used, e.g. "one session of 400 trials"."""
    if subject not in prepared.subjects:
        return "its training trials"
    table = prepared.trials_of(subject, sessions=config.get("sessions"))
    table = table[table["split"].isin(config["train_on"])].iloc[: config.get("n_trials")]
    n_sessions = table["session"].nunique()
    if n_sessions == 1:
        return f"one session of {len(table):,} trials"
    return f"{_number(n_sessions)} sessions, {len(table):,} trials"


def _number(count: int) -> str:
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found
