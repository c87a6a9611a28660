"""Compare: scores of several runs on the same images -> paired tests, tables and a page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from mindeye2.core.artifacts import (
    claim_folder,
    read_manifest,
    record_path,
    write_json,
    write_manifest,
    write_text,
)
from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import Settings, plain
from mindeye2.metrics.comparison import PairedTest, compare_scores, correct_holm
from mindeye2.metrics.protocols import PROTOCOLS
from mindeye2.reporting import (
    Arm,
    Column,
    Comparison,
    Difference,
    ReportContent,
    ResponseSource,
    Table,
    TableRow,
    as_csv,
    as_latex,
    as_markdown,
    render_page,
    score_row,
    subjects_table,
)

__all__ = ["CompareSettings", "compare"]


class CompareSettings(Settings):
    """Settings of the stage ``compare``."""

    names: tuple[str, ...] = ()
    """Names of the runs, in their order; by default those of their folders."""

    metrics: tuple[str, ...] = ()
    """Metrics to compare, as ``summary.json`` names them; by default all that the runs share.
    Fewer metrics, chosen beforehand, lose less to Holm's correction."""

    margin: Annotated[float, Field(gt=0)] = 0.02
    """Equivalence margin: largest difference that is treated as none; .02 is 2 percentage
    points."""

    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Coverage of the intervals; tests are at 1 minus it."""

    n_resamples: Annotated[int, Field(ge=100)] = 10_000
    """Bootstrap resamples and sign flips."""

    seed: int = 0
    """Seeds bootstrap and sign flips."""


class _Run:
    """Scores of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder, stage="evaluate")
        rows = json.loads((self.folder / "summary.json").read_text())
        self.summary: dict[str, dict[str, Any]] = {row["name"]: row for row in rows}
        self.table = pd.read_parquet(self.folder / "scores.parquet")

    @property
    def protocol(self) -> str:
        return str(self.manifest["config"].get("protocol", "laptop"))

    @property
    def subject(self) -> str:
        return str(self.manifest["subject"])

    def scores(self, images: Sequence[int], metrics: Sequence[str]) -> dict[str, Tensor]:
        rows = self.table.set_index("image").loc[list(images)]
        return {name: torch.tensor(rows[name].to_numpy()) for name in metrics}


def compare(
    settings: CompareSettings, *, sources: Sequence[Path], out: Path, resume: bool = False
) -> Path:
    """Compare runs on the same test images, each with the first, or list several subjects.

    Parameters
    ----------
    settings
        Metrics, margin of equivalence, resampling.
    sources
        Two or more folders that the stage ``evaluate`` finished, by one protocol. The first is
        the one that the others are compared with. Where each is of another subject, their scores
        are listed with the mean and its interval over subjects instead.
    out
        Folder to fill with ``table.md``, ``table.tex``, ``table.csv`` and ``index.html``, and for
        paired differences ``differences.json`` and ``differences.csv``.
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
        If there are fewer than two runs, names are not unique, or a metric was not computed.
    """
    if len(sources) < 2:
        raise ValueError(f"a comparison needs at least two runs, got {len(sources)}.")
    runs = [_Run(source) for source in sources]
    if len({run.subject for run in runs}) == len(runs):
        return _list_subjects(settings, runs, out=claim_folder(out, resume=resume))
    names = _names(settings, runs)
    for other in runs[1:]:
        _check_same(runs[0], other)
    metrics = _metrics(settings, runs)
    images = runs[0].table["image"].tolist()
    first = runs[0].scores(images, metrics)
    tests: dict[str, PairedTest] = {}
    for name, run in zip(names[1:], runs[1:], strict=True):
        found = compare_scores(
            run.scores(images, metrics),
            first,
            margin=settings.margin,
            seed=settings.seed,
            level=settings.level,
            n_resamples=settings.n_resamples,
        )
        tests |= {f"{name}/{metric}": test for metric, test in found.items()}
    tests = correct_holm(tests)  # over all runs too: they are read together

    out = claim_folder(out, resume=resume)
    tables = [
        _table_of_runs(runs, names, metrics),
        _table_of_differences(tests, runs[0], names=names, settings=settings),
    ]
    write_json(out / "differences.json", _records(tests, runs[0], names=names, settings=settings))
    write_text(out / "table.md", as_markdown(tables))
    write_text(out / "table.tex", as_latex(tables))
    write_text(out / "table.csv", as_csv(tables[0]))
    write_text(out / "differences.csv", as_csv(tables[1]))
    content = _content(runs, names, metrics, tests=tests, table=tables[1])
    write_text(out / "index.html", render_page(content))
    return _seal(settings, runs, out)


def _list_subjects(settings: CompareSettings, runs: Sequence[_Run], *, out: Path) -> Path:
    """Write the scores of several subjects, with their mean and its interval over subjects."""
    for other in runs[1:]:
        _check_protocol(runs[0], other)
    names = list(settings.names) or [run.subject for run in runs]
    if len(set(names)) != len(runs):
        names = _names(settings, runs)
    metrics = _metrics(settings, runs)
    table = subjects_table(
        {name: run.summary for name, run in zip(names, runs, strict=True)},
        metrics,
        caption=f"Subjects: {runs[0].protocol}",
        level=settings.level,
        n_resamples=settings.n_resamples,
        seed=settings.seed,
    )
    write_text(out / "table.md", as_markdown([table]))
    write_text(out / "table.tex", as_latex([table]))
    write_text(out / "table.csv", as_csv(table))
    content = _content(runs, names, metrics, tests={}, table=table)
    write_text(out / "index.html", render_page(content))
    return _seal(settings, runs, out)


def _seal(settings: CompareSettings, runs: Sequence[_Run], out: Path) -> Path:
    sources = [record_path(run.folder, folder=out) for run in runs]
    return write_manifest(out, stage="compare", config={**plain(settings), "sources": sources})


def _names(settings: CompareSettings, runs: Sequence[_Run]) -> list[str]:
    resolved = [run.folder.resolve() for run in runs]
    names = list(settings.names) or [path.name for path in resolved]
    if not settings.names and len(set(names)) < len(names):
        names = [f"{path.parent.name}/{path.name}" for path in resolved]
    if len(names) != len(runs) or len(set(names)) < len(names):
        raise ValueError(
            f"each of the {len(runs)} runs needs a name of its own, got {names}. Give "
            "--set names=[A, B, ...] in the order of the runs."
        )
    return names


def _check_same(first: _Run, other: _Run) -> None:
    """Refuse scores that are not comparable image by image."""
    _check_protocol(first, other)
    mine, theirs = set(first.table["image"]), set(other.table["image"])
    if mine != theirs:
        apart = sorted(mine ^ theirs)
        raise ArtifactError(
            f"{first.folder} has scores of {len(mine)} test images and {other.folder} of "
            f"{len(theirs)}; {len(apart)} are in one only, e.g. image {apart[0]}. Paired "
            "differences need the same images: reconstruct and evaluate the same split."
        )
    _check_alike(
        first, other, key="images_sha256", what="data sets with other images, or in another order"
    )


def _check_protocol(first: _Run, other: _Run) -> None:
    """Refuse scores that were computed in different ways."""
    if first.protocol != other.protocol:
        raise ArtifactError(
            f"{first.folder} was scored by the protocol {first.protocol!r} and {other.folder} by "
            f"{other.protocol!r}: their scores are not comparable. Evaluate both by one protocol."
        )
    for key, what in (
        ("extractor_size", "feature extractors of two sizes"),
        ("sentence_encoder", "two sentence encoders"),
        ("design", "two designs, one of them with known images"),
    ):
        _check_alike(first, other, key=key, what=what)


def _check_alike(first: _Run, other: _Run, *, key: str, what: str) -> None:
    pair = [run.manifest.get(key, run.manifest["config"].get(key)) for run in (first, other)]
    if pair[0] != pair[1] and None not in pair:
        raise ArtifactError(
            f"{first.folder} and {other.folder} were scored with {what} ({key}: {pair[0]} "
            f"and {pair[1]}). Evaluate both alike."
        )


def _metrics(settings: CompareSettings, runs: Sequence[_Run]) -> list[str]:
    shared = [
        name
        for name in runs[0].summary
        if not name.endswith("_floor")
        and not name.startswith("repeat_")
        and all(name in run.summary for run in runs)
    ]
    unknown = [name for name in settings.metrics if name not in shared]
    if unknown or not shared:
        raise ValueError(
            f"not all runs have scores of {unknown or 'any metric'}, only of {shared}."
        )
    return list(settings.metrics) or shared


def _table_of_runs(runs: Sequence[_Run], names: Sequence[str], metrics: Sequence[str]) -> Table:
    columns = [Column(key=name, title=name, arrow=False) for name in names]
    rows = [
        TableRow(
            label=runs[0].summary[metric]["title"],
            values={n: run.summary[metric]["value"] for n, run in zip(names, runs, strict=True)},
        )
        for metric in metrics
    ]
    count = len(runs[0].table)
    return Table(caption=f"Runs: {runs[0].protocol}, {count} images", columns=columns, rows=rows)


def _table_of_differences(
    tests: Mapping[str, PairedTest],
    first: _Run,
    *,
    names: Sequence[str],
    settings: CompareSettings,
) -> Table:
    titles = {
        "mean": "difference",
        "low": f"{100 * settings.level:g} % from",
        "high": "to",
        "p": "p",
        "p_holm": "p (Holm)",
        "p_equivalence": "p (equivalence)",
        "verdict": "verdict",
    }
    rows = [
        TableRow(
            label=f"{row['title']}: {row['run']} minus {names[0]}",
            values={key: row[key] for key in titles},
        )
        for row in _records(tests, first, names=names, settings=settings)
    ]
    notes = [
        "Differences are paired by image: BCa bootstrap intervals, sign-flip permutation p, "
        f"Holm's correction over all {len(tests)} tests, equivalence within {settings.margin:g} "
        "by two one-sided t tests."
    ]
    return Table(
        caption=f"Differences from {names[0]}",
        columns=[Column(key=k, title=title, arrow=False) for k, title in titles.items()],
        rows=rows,
        notes=notes,
    )


def _records(
    tests: Mapping[str, PairedTest],
    first: _Run,
    *,
    names: Sequence[str],
    settings: CompareSettings,
) -> list[dict[str, Any]]:
    """List the tests with their runs, titles and verdicts."""
    records = []
    for key, test in tests.items():
        run, _, metric = key.rpartition("/")
        row = first.summary[metric]
        verdict = test.verdict(
            higher_is_better=row.get("higher_is_better", True), alpha=1 - settings.level
        )
        records.append(
            {
                "metric": metric,
                "title": row["title"],
                "run": run,
                "reference": names[0],
                **asdict(test),
                "verdict": verdict,
            }
        )
    return records


def _content(
    runs: Sequence[_Run],
    names: Sequence[str],
    metrics: Sequence[str],
    *,
    tests: Mapping[str, PairedTest],
    table: Table,
) -> ReportContent:
    first = runs[0]
    label, _, explanation = str(first.manifest.get("label") or "Brain responses").partition(":")
    arms = [
        Arm(
            name=name,
            rows=[score_row(run.summary[metric]) for metric in metrics],
            emphasis=run is first,
        )
        for name, run in zip(names, runs, strict=True)
    ]
    differences = []
    for key, test in tests.items():
        name, _, metric = key.rpartition("/")
        row = score_row(first.summary[metric])
        differences.append(
            Difference(
                a=name,
                b=names[0],
                metric=row.metric,
                value=test.mean,
                low=test.low,
                high=test.high,
                higher_is_better=row.higher_is_better,
                percent=row.percent,
                n=len(first.table),
            )
        )
    protocol = PROTOCOLS[first.protocol]
    return ReportContent(
        title=" and ".join(names) if len(names) < 4 else f"{len(names)} runs",
        summary=(
            f"{len(names)} subjects, {', '.join(names)}, scored by the protocol {protocol.name} "
            f"({protocol.summary})."
            if not tests
            else f"{len(names)} runs on the same {len(first.table)} test images of "
            f"{first.manifest['subject']}, scored by the protocol {protocol.name} "
            f"({protocol.summary}). Each is compared with {names[0]}, image by image."
        ),
        responses=ResponseSource(
            label=label,
            simulated=bool(first.manifest.get("simulated", False)),
            explanation=explanation.strip() or label,
        ),
        tables=[table],
        comparisons=[
            Comparison(
                title="Metric by metric" if tests else "Subject by subject",
                arms=arms,
                differences=differences,
            )
        ],
        provenance={
            name: f"{run.folder.resolve()}, mindeye2 {run.manifest['mindeye2']}"
            for name, run in zip(names, runs, strict=True)
        },
    )
