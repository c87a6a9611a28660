"""Tables of arms: scores, their differences, single runs, and rows of published tables."""

from collections.abc import Mapping, Sequence

import pandas as pd

from mindeye2.metrics.stats import FEWEST_SUBJECTS, Interval
from mindeye2.reporting import Column, Table, TableRow, paper_tables
from mindeye2.stages.compare.arm_scores import ArmDifference
from mindeye2.stages.compare.arms import RunArm, subjects_of
from mindeye2.stages.compare.compare_settings import CompareSettings

__all__ = ["differences_table", "published_tables", "runs_frame", "scores_table"]


def scores_table(
    arms: Sequence[RunArm],
    metrics: Sequence[str],
    intervals: Mapping[tuple[str, str], Interval],
    *,
    level: float,
) -> Table:
    """Lay out arms side by side; of several subjects, a row for each metric and arm."""
    subjects = subjects_of(arms)
    first = arms[0].first
    if len(subjects) == 1:
        rows = [
            TableRow(
                label=first.summary[metric]["title"],
                values={arm.label: intervals[arm.label, metric].mean for arm in arms},
            )
            for metric in metrics
        ]
        return Table(
            caption=f"Runs: {first.protocol}, {len(first.table)} images",
            columns=[Column(key=arm.label, title=arm.label, arrow=False) for arm in arms],
            rows=rows,
            notes=_left_out(arms),
        )
    enough = len(subjects) >= FEWEST_SUBJECTS
    ends = {"low": f"{100 * level:g} % from", "high": "to"} if enough else {}
    heads = {"mean": "mean", **ends, **{s: s for s in subjects}, "chance": "chance"}
    rows = [
        TableRow(
            label=_row_label(arm, metric, alone=len(arms) == 1),
            values=_values(arm, metric, intervals[arm.label, metric]),
        )
        for metric in metrics
        for arm in arms
    ]
    return Table(
        caption=f"Subjects: {first.protocol}",
        columns=[Column(key=key, title=title, arrow=False) for key, title in heads.items()],
        rows=rows,
        notes=[_about_interval(arms, len(subjects)), *_left_out(arms)],
    )


def differences_table(differences: Sequence[ArmDifference], settings: CompareSettings) -> Table:
    """Lay out differences with intervals, p values and verdicts."""
    titles = {
        "mean": "difference",
        "low": f"{100 * settings.level:g} % from",
        "high": "to",
        "p": "p",
        "p_holm": "p (Holm)",
        "p_equivalence": "p (equivalence)",
        "verdict": "verdict",
    }
    records = [d.record(level=settings.level) for d in differences]
    rows = [
        TableRow(
            label=f"{row['title']}: {row['run']} minus {row['reference']}",
            values={key: row[key] for key in titles},
        )
        for row in records
    ]
    of_subjects = len(differences[0].shape) == 3
    paired, unit = (
        ("subject, seed and image", "paired t test over subjects")
        if of_subjects
        else ("image", "sign-flip permutation p")
    )
    notes = [
        f"Differences are paired by {paired}: BCa bootstrap intervals, {unit}, Holm's correction "
        f"over all {len(records)} tests, equivalence within {settings.margin:g} by two one-sided "
        "t tests."
    ]
    first = differences[0].reference
    one = all(d.reference is first for d in differences)
    return Table(
        caption=f"Differences from {first.label if one else first.family}",
        columns=[Column(key=k, title=title, arrow=False) for k, title in titles.items()],
        rows=rows,
        notes=notes,
    )


def published_tables(arms: Sequence[RunArm]) -> list[Table]:
    """Return the paper's tables with the means of arms, then with those of each subject."""
    first = arms[0].first
    subjects = subjects_of(arms)
    names = [
        n for n in first.summary if all(n in r.summary for a in arms for r in a.runs.values())
    ]
    wanted = [([s], s) for s in subjects]
    if len(subjects) > 1:
        wanted.insert(0, (subjects, f"mean of {', '.join(subjects)}"))
    tables = []
    for chosen, title in wanted:
        scores = {}
        for arm in arms:
            there = [s for s in chosen if s in arm.subjects]
            if len(there) == len(chosen):
                scores[arm.label] = {
                    name: sum(arm.mean_of(name, s) for s in there) / len(there) for name in names
                }
        tables += paper_tables(
            scores, protocol=first.protocol, subject=title, n_images=len(first.table)
        )
    return tables


def runs_frame(arms: Sequence[RunArm], metrics: Sequence[str]) -> pd.DataFrame:
    """Return one row per run: arm, amount of data, subject, seed, trials, folder and scores."""
    return pd.DataFrame(
        [
            {
                "arm": arm.family,
                "amount": str(arm.amount),
                "subject": subject,
                "seed": seed,
                "trials": run.facts.trials,
                **{metric: run.summary[metric]["value"] for metric in metrics},
            }
            for arm in arms
            for (subject, seed), run in arm.runs.items()
        ]
    )


def _row_label(arm: RunArm, metric: str, *, alone: bool) -> str:
    title = str(arm.first.summary[metric]["title"])
    return title if alone else f"{title}: {arm.label}"


def _values(arm: RunArm, metric: str, interval: Interval) -> dict[str, float | str | None]:
    chances = {run.summary[metric].get("chance") for run in arm.runs.values()}
    values: dict[str, float | str | None] = {s: arm.mean_of(metric, s) for s in arm.subjects}
    values |= {"mean": interval.mean}
    if len(arm.subjects) >= FEWEST_SUBJECTS:
        values |= {"low": interval.low, "high": interval.high}
    # Galleries of different sizes have different chance levels.
    return {**values, "chance": chances.pop() if len(chances) == 1 else None}


def _about_interval(arms: Sequence[RunArm], n_subjects: int) -> str:
    if n_subjects < FEWEST_SUBJECTS:
        return (
            f"No interval over subjects: it needs {FEWEST_SUBJECTS} subjects, and there are "
            f"{n_subjects}."
        )
    n_seeds = max(len(arm.seeds) for arm in arms)
    seeds = f", {n_seeds} seeds" if n_seeds > 1 else ""
    return (
        f"Interval: BCa bootstrap over {n_subjects} subjects{seeds} and their images, each "
        "resampled by itself. With so few subjects it is a lower bound of the spread over others."
    )


def _left_out(arms: Sequence[RunArm]) -> list[str]:
    runs = [run for arm in arms for run in arm.left_out]
    if not runs:
        return []
    named = ", ".join(str(run.folder) for run in runs)
    return [f"Left out, because not every subject of the arm has the seed: {named}."]
