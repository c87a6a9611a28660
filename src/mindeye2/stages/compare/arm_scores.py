"""Scores of arms with intervals, their paired differences, and curves over the amount of data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mindeye2.core.runtime import generator
from mindeye2.metrics import bootstrap_interval
from mindeye2.metrics.comparison import PairedTest, compare_scores, correct_holm
from mindeye2.metrics.stats import Interval
from mindeye2.reporting import Curve, CurvePanel
from mindeye2.stages.compare.arms import RunArm, paired_tables, score_table
from mindeye2.stages.compare.compare_settings import CompareSettings

__all__ = ["ArmDifference", "arm_differences", "arm_intervals", "learning_curves"]


@dataclass(frozen=True)
class ArmDifference:
    """One metric of an arm minus that of another."""

    arm: RunArm
    reference: RunArm
    metric: str
    test: PairedTest
    shape: tuple[int, ...]
    """Subjects, seeds and images of the pairs; without subjects, or images, where they are few."""

    def record(self, *, level: float) -> dict[str, Any]:
        """Return names, numbers and verdict as plain values."""
        row = self.arm.first.summary[self.metric]
        better = row.get("higher_is_better", True)
        return {
            "metric": self.metric,
            "title": row["title"],
            "run": self.arm.label,
            "reference": self.reference.label,
            **asdict(self.test),
            "verdict": self.test.verdict(higher_is_better=better, alpha=1 - level),
        }


def arm_intervals(
    arms: Sequence[RunArm], metrics: Sequence[str], settings: CompareSettings
) -> dict[tuple[str, str], Interval]:
    """Return the mean score of each arm and metric with its interval, by label and metric."""
    found = {}
    for arm in arms:
        for metric in metrics:
            table = score_table(arm, metric, subjects=arm.subjects, seeds=arm.seeds)
            found[arm.label, metric] = bootstrap_interval(
                table,
                generator=generator(settings.seed, "arm", metric),
                level=settings.level,
                n_resamples=settings.n_resamples,
            )
    return found


def arm_differences(
    pairs: Sequence[tuple[RunArm, RunArm]], metrics: Sequence[str], settings: CompareSettings
) -> list[ArmDifference]:
    """Test the differences of pairs of arms, corrected for their number over all pairs."""
    found: dict[str, PairedTest] = {}
    origins: dict[str, tuple[RunArm, RunArm, str, tuple[int, ...]]] = {}
    for number, pair in enumerate(pairs):
        first, second = paired_tables(pair, metrics)
        tests = compare_scores(
            first,
            second,
            margin=settings.margin,
            seed=settings.seed,
            level=settings.level,
            n_resamples=settings.n_resamples,
        )
        for metric, test in tests.items():
            found[f"{number}/{metric}"] = test
            origins[f"{number}/{metric}"] = (*pair, metric, tuple(first[metric].shape))
    # Over all pairs too: they are read together.
    return [
        ArmDifference(arm=a, reference=b, metric=metric, test=test, shape=shape)
        for test, (a, b, metric, shape) in zip(
            correct_holm(found).values(), origins.values(), strict=True
        )
    ]


def learning_curves(
    arms: Sequence[RunArm],
    metrics: Sequence[str],
    intervals: Mapping[tuple[str, str], Interval],
    *,
    trials_per_minute: float | None,
) -> list[CurvePanel]:
    """Return a panel for each metric, with a curve for each arm of several amounts of data."""
    families: dict[str, list[tuple[float, RunArm]]] = {}
    for arm in arms:
        if arm.n_trials is not None:
            size = arm.n_trials / (trials_per_minute or 1)
            families.setdefault(arm.family, []).append((size, arm))
    several = {f: sorted(found, key=lambda p: p[0]) for f, found in families.items()}
    several = {f: found for f, found in several.items() if len({size for size, _ in found}) > 1}
    panels = []
    for metric in metrics if several else ():
        row = arms[0].first.summary[metric]
        curves = []
        for family, found in list(several.items())[:6]:
            scores = [intervals[arm.label, metric] for _, arm in found]
            curves.append(
                Curve(
                    name=family,
                    x=[size for size, _ in found],
                    y=[score.mean for score in scores],
                    low=[score.low for score in scores],
                    high=[score.high for score in scores],
                )
            )
        chance = row.get("chance")
        panels.append(
            CurvePanel(
                title=str(row["title"]),
                x_label="trials" if trials_per_minute is None else "minutes of scanning",
                y_label="score",
                curves=curves,
                chance=None if chance is None or math.isnan(chance) else float(chance),
                percent=bool(row["percent"]),
                log_x=True,
            )
        )
    return panels
