"""Content of the page of a comparison."""

from collections.abc import Mapping, Sequence

from mindeye2.metrics.protocols import PROTOCOLS
from mindeye2.metrics.stats import Interval
from mindeye2.reporting import (
    Arm,
    Comparison,
    CurvePanel,
    Difference,
    ReportContent,
    ResponseSource,
    ScoreRow,
    Table,
    score_row,
)
from mindeye2.stages.compare.arm_scores import ArmDifference
from mindeye2.stages.compare.arms import RunArm, subjects_of

__all__ = ["comparison_content"]


def comparison_content(
    arms: Sequence[RunArm],
    metrics: Sequence[str],
    intervals: Mapping[tuple[str, str], Interval],
    *,
    differences: Sequence[ArmDifference],
    curves: Sequence[CurvePanel],
    tables: Sequence[Table],
) -> ReportContent:
    """Describe a comparison: arms side by side, their differences, learning curves and tables."""
    first = arms[0].first
    names = [arm.label for arm in arms]
    return ReportContent(
        title=" and ".join(names)
        if 1 < len(names) < 4
        else f"{sum(len(a.runs) for a in arms)} runs",
        summary=_summary(arms),
        responses=ResponseSource.of_label(
            first.manifest.get("label"), simulated=bool(first.manifest.get("simulated", False))
        ),
        tables=tables,
        comparisons=[
            Comparison(
                title="Arm by arm" if len(arms) > 1 else "Subject by subject",
                arms=[
                    Arm(
                        name=arm.label,
                        rows=[_row(arm, metric, intervals) for metric in metrics],
                        emphasis=arm is arms[0],
                        explanation=_explanation(arm),
                    )
                    for arm in arms
                ]
                if len(arms) > 1
                else _subjects(arms[0], metrics),
                differences=[_difference(d) for d in differences],
                curves=curves,
            )
        ],
        provenance={
            f"{arm.label}, {subject}, seed {seed}": f"{run.folder.resolve()}, "
            f"mindeye2 {run.manifest['mindeye2']}"
            for arm in arms
            for (subject, seed), run in arm.runs.items()
        },
    )


def _summary(arms: Sequence[RunArm]) -> str:
    first = arms[0].first
    protocol = PROTOCOLS[first.protocol]
    scored = f"scored by the protocol {protocol.name} ({protocol.summary})."
    subjects = subjects_of(arms)
    who = ", ".join(subjects)
    if len(arms) == 1:
        return f"{len(subjects)} subjects, {who}, {scored}"
    if len(subjects) == 1:
        return (
            f"{len(arms)} runs on the same {len(first.table)} test images of {who}, {scored} Each "
            f"is compared with {arms[0].label}, image by image."
        )
    seeds = max(len(arm.seeds) for arm in arms)
    counted = f"{seeds} seeds" if seeds > 1 else "1 seed"
    return (
        f"{len(arms)} arms, {len(subjects)} subjects ({who}) and {counted}, {scored} Arms are "
        "compared at the same amount of data, subject by subject and image by image."
    )


def _explanation(arm: RunArm) -> str:
    run = arm.first
    if not run.facts.recipe:
        return ""
    trials = "" if arm.n_trials is None else f", {arm.n_trials:,.0f} trials"
    started = " from a pretrained run" if "pretrained.recipe" in run.facts.settings else ""
    return f"recipe {run.facts.recipe}{started}{trials}"


def _row(arm: RunArm, metric: str, intervals: Mapping[tuple[str, str], Interval]) -> ScoreRow:
    """Return a score of an arm; the interval of a single run is that of its summary."""
    runs = list(arm.runs.values())
    if len(runs) == 1:
        return score_row(runs[0].summary[metric])
    found = intervals[arm.label, metric]
    ends = {"value": found.mean, "low": found.low, "high": found.high}
    return score_row({**runs[0].summary[metric], **ends})


def _subjects(arm: RunArm, metrics: Sequence[str]) -> list[Arm]:
    several = len(arm.runs) > len(arm.subjects)
    return [
        Arm(
            name=f"{subject}, seed {seed}" if several else subject,
            rows=[score_row(run.summary[metric]) for metric in metrics],
        )
        for (subject, seed), run in arm.runs.items()
    ]


def _difference(found: ArmDifference) -> Difference:
    row = score_row(found.arm.first.summary[found.metric])
    return Difference(
        a=found.arm.label,
        b=found.reference.label,
        metric=row.metric,
        value=found.test.mean,
        low=found.test.low,
        high=found.test.high,
        higher_is_better=row.higher_is_better,
        percent=row.percent,
        n=found.shape[-1],
    )
