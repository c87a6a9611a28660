"""Learning curve: scores over the amount of data, from 10 minutes to 40 hours of scanning.

Each point trains on the first so many trials of a subject, decodes the same test images and is
scored by the evaluate stage. Points are nested: a longer one contains the trials of a shorter one.
"""

import json
import math
import shutil
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError, check_choice
from mindeye2.core.settings import Settings
from mindeye2.data.prepared import Prepared
from mindeye2.stages.analyse.analysis import Analysis, AnalysisJob, Point
from mindeye2.stages.analyse.charts import LinePanel, Series, draw_lines
from mindeye2.stages.analyse.decoding_folder import TRAINING

__all__ = ["LearningCurveSettings", "draw_learning_curve"]


class LearningCurveSettings(Settings):
    """Settings of the analysis ``learning-curve``."""

    kind: Literal["learning-curve"] = "learning-curve"
    """Name of the analysis."""

    subject: str | None = None
    """Subject; not needed where the data set has one only."""

    minutes: Annotated[tuple[float, ...], Field(min_length=1)] = (10, 30, 60, 120, 600, 2400)
    """Minutes of scanning of each point, as in the paper. Points beyond the data become one with
    all trials."""

    trials_per_minute: Annotated[float, Field(gt=0)] = 12.5
    """Trials in a minute; NSD has 750 in a session of an hour."""

    n_trials: tuple[int, ...] | None = None
    """Training trials of each point, instead of `minutes`."""

    images: bool = False
    """Also generate and score images; without them tokens are scored."""

    metrics: Annotated[tuple[str, ...], Field(min_length=1)] = ("image_top1", "two_way_tokens")
    """Scores in the figure and the summary, as ``summary.json`` of evaluate names them."""


def draw_learning_curve(settings: LearningCurveSettings, job: AnalysisJob) -> Analysis:
    """Train, decode and score with each amount of data, and keep the scores of each point."""
    subject = _subject(settings, job.prepared)
    whole = int(job.prepared.trials_of(subject)["split"].isin(TRAINING).sum())
    points = choose_points(settings, whole)
    arms = ["ridge"] if job.init is None else ["adapt", "ridge"]
    rows: list[dict[str, object]] = []
    failed: list[str] = []
    for arm in arms:
        for n_trials in points:
            point = Point(
                data=job.prepared.folder,
                subject=subject,
                n_trials=n_trials,
                init=job.init if arm == "adapt" else None,
                out=job.out / "state" / f"{arm}-{n_trials}",
                images=settings.images,
            )
            try:
                scores = _score(point, job)
            except (ValueError, ArtifactError) as error:
                failed.append(f"{arm}, {n_trials} trials: {error}")
                continue
            minutes = n_trials / settings.trials_per_minute
            rows += [{"arm": arm, "n_trials": n_trials, "minutes": minutes, **s} for s in scores]
    if not rows:
        raise ArtifactError(f"no point of the learning curve could be trained. {failed[0]}")
    table = pd.DataFrame(rows)
    _check_metrics(settings, table)
    shutil.rmtree(job.out / "state")
    return Analysis(
        title="Learning curve",
        subject=subject,
        lines=[*_lines(settings, table), *failed],
        tables={"learning_curve": table},
        figure=_draw(settings, table),
        facts={"failed": failed},
    )


def _subject(settings: LearningCurveSettings, prepared: Prepared) -> str:
    known = prepared.subjects
    if settings.subject is not None:
        return check_choice("the setting subject", settings.subject, known)
    if len(known) != 1:
        raise ValueError(
            f"{prepared.folder} has the subjects {known}: choose one, e.g. "
            f"--subject {known[-1] if known else 'NAME'}."
        )
    return known[0]


def choose_points(settings: LearningCurveSettings, n_available: int) -> list[int]:
    """Return numbers of trials, ascending: those of the settings that exist, and at last all."""
    wanted = settings.n_trials or [m * settings.trials_per_minute for m in settings.minutes]
    chosen = sorted({round(n) for n in wanted})
    if chosen[0] < 1:
        raise ValueError(f"points need at least 1 trial, got {chosen}.")
    inside = [n for n in chosen if n < n_available]
    return inside if len(inside) == len(chosen) else [*inside, n_available]


def _score(point: Point, job: AnalysisJob) -> list[dict[str, object]]:
    """Return the scores of one point; models and tokens are removed once it is scored."""
    kept = point.out / "summary.json"
    if not kept.exists():
        point.out.mkdir(parents=True, exist_ok=True)
        scores = job.steps.fit_and_score(point, str(job.device))
        read_manifest(scores, stage="evaluate")
        (scores / "summary.json").replace(kept)
    for part in [path for path in point.out.iterdir() if path.is_dir()]:
        shutil.rmtree(part)
    keys = ("name", "title", "value", "low", "high", "chance", "n", "percent")
    return [{k: row[k] for k in keys} for row in json.loads(Path(kept).read_text())]


def _check_metrics(settings: LearningCurveSettings, table: pd.DataFrame) -> None:
    known = sorted(set(table["name"]))
    for name in settings.metrics:
        check_choice("each of the setting metrics", name, known)


def _label(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h".replace(".0 h", " h")


def _lines(settings: LearningCurveSettings, table: pd.DataFrame) -> list[str]:
    lines = []
    for name in settings.metrics:
        part = table[table["name"] == name]
        for arm, rows in part.groupby("arm", sort=False):
            values = ", ".join(
                f"{_label(minutes)} {value:.1%}" if percent else f"{_label(minutes)} {value:.3f}"
                for minutes, value, percent in zip(
                    rows["minutes"], rows["value"], rows["percent"], strict=True
                )
            )
            lines.append(f"{rows['title'].iloc[0]}, {_ARMS[str(arm)]}: {values}")
    return lines


_ARMS = {"adapt": "adapted from the pretrained run", "ridge": "ridge on the subject alone"}


def _draw(settings: LearningCurveSettings, table: pd.DataFrame) -> str:
    panels = []
    for name in settings.metrics:
        part = table[table["name"] == name]
        series = [
            Series(
                name=_ARMS[str(arm)],
                x=[math.log10(n) for n in rows["n_trials"]],
                values=rows["value"].tolist(),
                low=rows["low"].tolist(),
                high=rows["high"].tolist(),
            )
            for arm, rows in part.groupby("arm", sort=False)
        ]
        ticks = _ticks(part)
        chance = part["chance"].iloc[0]
        panels.append(
            LinePanel(
                title=str(part["title"].iloc[0]),
                series=series,
                chance=None if pd.isna(chance) else float(chance),
                percent=bool(part["percent"].iloc[0]),
                x_label="minutes of scanning (logarithmic)",
                ticks=ticks,
            )
        )
    return draw_lines(panels)


def _ticks(part: pd.DataFrame) -> dict[float, str]:
    """Label points that lie apart far enough."""
    ticks: dict[float, str] = {}
    pairs = sorted(set(zip(part["n_trials"], part["minutes"], strict=True)))
    apart = max((math.log10(pairs[-1][0]) - math.log10(pairs[0][0])) / 6, 1e-9)
    for n_trials, minutes in reversed(pairs):
        at = math.log10(n_trials)
        if not ticks or min(ticks) - at >= apart:
            ticks[at] = _label(minutes)
    return ticks
