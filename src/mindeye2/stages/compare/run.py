"""The compare stage: runs of a grid become arms, their differences, curves, tables and a page."""

from collections.abc import Sequence
from pathlib import Path

from mindeye2.core.artifacts import (
    claim_folder,
    record_path,
    write_json,
    write_manifest,
    write_text,
)
from mindeye2.core.settings import plain
from mindeye2.reporting import as_csv, as_latex, as_markdown, render_page
from mindeye2.stages.compare.arm_scores import arm_differences, arm_intervals, learning_curves
from mindeye2.stages.compare.arm_tables import (
    differences_table,
    published_tables,
    runs_frame,
    scores_table,
)
from mindeye2.stages.compare.arms import group_runs, pair_arms
from mindeye2.stages.compare.compare_settings import CompareSettings
from mindeye2.stages.compare.comparison_page import comparison_content
from mindeye2.stages.compare.scored_run import ScoredRun, check_protocol, shared_metrics

__all__ = ["compare"]


def compare(
    settings: CompareSettings, *, sources: Sequence[Path], out: Path, resume: bool = False
) -> Path:
    """Compare runs of one protocol: two runs, several subjects, or a whole grid.

    Runs form arms: ways to train, at an amount of data, over subjects and seeds. An arm has means
    with intervals; arms are compared with the first one, or at several amounts of data with the
    reference at the same amount, paired by subject, seed and image.

    Parameters
    ----------
    settings
        Arms, metrics, margin of equivalence, resampling.
    sources
        Two or more folders that the stage ``evaluate`` finished, by one protocol.
    out
        Folder to fill with ``table.md``, ``table.tex``, ``table.csv``, ``runs.csv`` (one row per
        run) and ``index.html``, and for paired differences ``differences.json`` and
        ``differences.csv``.
    resume
        Fill a folder that an interrupted run left behind.

    Returns
    -------
    Path
        The manifest of `out`.

    Raises
    ------
    ArtifactError
        If a folder is unfinished, or test images, protocols or settings of the scores differ.
    ValueError
        If there are fewer than two runs, names do not tell runs apart, or a metric was not
        computed.
    """
    if len(sources) < 2:
        raise ValueError(f"a comparison needs at least two runs, got {len(sources)}.")
    runs = [ScoredRun(source) for source in sources]
    for other in runs[1:]:
        check_protocol(runs[0], other)
    arms = group_runs(runs, settings.names)
    pairs = pair_arms(arms, settings.reference)
    metrics = shared_metrics(runs, settings.metrics)
    differences = arm_differences(pairs, metrics, settings)
    intervals = arm_intervals(arms, metrics, settings)
    curves = learning_curves(
        arms, metrics, intervals, trials_per_minute=settings.trials_per_minute
    )
    tables = [scores_table(arms, metrics, intervals, level=settings.level)]

    out = claim_folder(out, resume=resume)
    write_text(out / "table.csv", as_csv(tables[0]))
    write_text(out / "runs.csv", runs_frame(arms, metrics).to_csv(index=False))
    if differences:
        tables.append(differences_table(differences, settings))
        write_text(out / "differences.csv", as_csv(tables[1]))
        write_json(out / "differences.json", [d.record(level=settings.level) for d in differences])
    tables += published_tables(arms)
    write_text(out / "table.md", as_markdown(tables))
    write_text(out / "table.tex", as_latex(tables))
    content = comparison_content(
        arms,
        metrics,
        intervals,
        differences=differences,
        curves=curves,
        tables=tables[1:] if len(arms[0].runs) == 1 and differences else tables,
    )
    write_text(out / "index.html", render_page(content))
    recorded = [record_path(run.folder, folder=out) for run in runs]
    return write_manifest(out, stage="compare", config={**plain(settings), "sources": recorded})
