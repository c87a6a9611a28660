"""Scores of several subjects side by side, with their mean and its interval over subjects."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mindeye2.core.runtime import generator
from mindeye2.metrics import bootstrap_interval
from mindeye2.reporting.content import Column, Table, TableRow

__all__ = ["subjects_table"]

FEWEST = 3
"""Subjects below which there is no interval: two say nothing about a third."""


def subjects_table(
    summaries: Mapping[str, Mapping[str, Mapping[str, Any]]],
    metrics: Sequence[str],
    *,
    caption: str,
    level: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> Table:
    """Lay out scores by subject, with the mean and its BCa interval over subjects.

    Parameters
    ----------
    summaries
        Rows of ``summary.json`` by metric, by subject.
    metrics
        Metrics that every subject has.
    caption
        Caption of the table.
    level
        Coverage of the intervals.
    n_resamples
        Resamples of the subjects.
    seed
        Seeds the resampling.

    Returns
    -------
    Table
        One row a metric. The interval covers other subjects of the same population; that of a
        subject's own score, on its page, covers other images.
    """
    enough = len(summaries) >= FEWEST
    columns = [Column(key=name, title=name, arrow=False) for name in summaries]
    columns.append(Column(key="mean", title="mean", arrow=False))
    if enough:
        columns.append(Column(key="low", title=f"{100 * level:g} % from", arrow=False))
        columns.append(Column(key="high", title="to", arrow=False))
    columns.append(Column(key="chance", title="chance", arrow=False))
    rows = []
    for metric in metrics:
        scores = {name: float(summary[metric]["value"]) for name, summary in summaries.items()}
        values: dict[str, float | str | None] = dict(scores)
        values["mean"] = sum(scores.values()) / len(scores)
        chances = [summary[metric].get("chance") for summary in summaries.values()]
        # Galleries of different sizes have different chance levels.
        values["chance"] = chances[0] if len(set(chances)) == 1 else None
        if enough:
            interval = bootstrap_interval(
                torch.tensor(list(scores.values())),
                generator=generator(seed, "subjects", metric),
                level=level,
                n_resamples=n_resamples,
            )
            values |= {"low": interval.low, "high": interval.high}
        first = next(iter(summaries.values()))[metric]
        rows.append(TableRow(label=str(first["title"]), values=values))
    note = (
        f"Interval: BCa bootstrap over {len(summaries)} subjects. With so few it is a lower bound "
        "of the spread over other subjects."
        if enough
        else f"No interval over subjects: it needs {FEWEST} subjects, and there are "
        f"{len(summaries)}."
    )
    return Table(caption=caption, columns=columns, rows=rows, notes=[note])
