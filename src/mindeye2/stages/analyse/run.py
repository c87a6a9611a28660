"""The analyse stage: one analysis of a finished reconstruction or data set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mindeye2.core.artifacts import (
    claim_folder,
    keep_settings,
    read_manifest,
    record_path,
    write_manifest,
    write_text,
)
from mindeye2.core.runtime import choose_device
from mindeye2.core.settings import Settings, plain
from mindeye2.stages.analyse.analysis import Analysis, AnalysisJob, Steps
from mindeye2.stages.analyse.brain_correlation import (
    BrainCorrelationSettings,
    correlate_with_brain,
)

__all__ = ["ANALYSES", "analyse"]

ANALYSES: dict[str, tuple[type[Settings], Callable[[Any, AnalysisJob], Analysis]]] = {
    "brain-correlation": (BrainCorrelationSettings, correlate_with_brain),
}
"""Settings and function of each analysis by KIND."""


def analyse(
    settings: Settings,
    *,
    kind: str,
    source: Path,
    out: Path,
    steps: Steps,
    data: Path | None = None,
    resume: bool = False,
    device: str = "auto",
) -> Path:
    """Run one analysis.

    Parameters
    ----------
    settings
        Settings of the analysis.
    kind
        A key of `ANALYSES`.
    source
        Folder that the stage ``reconstruct`` finished.
    out
        Folder to fill with tables (parquet and CSV) and ``figure.svg``.
    steps
        Steps of other stages that the analysis may run.
    data
        Prepared data set; by default the one that the source was made from.
    resume
        Fill a folder that an interrupted analysis left behind; a finished one is kept.
    device
        Where to compute.

    Returns
    -------
    Path
        The manifest of `out`.

    Raises
    ------
    ArtifactError
        If the source is unfinished or of another kind, or lacks what the analysis needs.
    ValueError
        If a setting does not fit the data.
    """
    job = AnalysisJob(Path(source), data, Path(out), choose_device(device), steps)
    prepared = job.decoding.prepared  # refuses a wrong source before a folder is made
    out = claim_folder(out, resume=resume)
    config = {
        **plain(settings),
        "source": record_path(source, folder=out),
        "data": record_path(prepared.folder, folder=out),
    }
    keep_settings(out, config)
    if (out / "manifest.json").exists():
        read_manifest(out, stage="analyse")
        return out / "manifest.json"
    found = ANALYSES[kind][1](settings, job)
    for name, table in found.tables.items():
        table.to_parquet(out / f"{name}.parquet", index=False)
        write_text(out / f"{name}.csv", table.to_csv(index=False))
    write_text(out / "figure.svg", found.figure)
    return write_manifest(
        out,
        stage="analyse",
        config=config,
        kind=kind,
        title=found.title,
        lines=list(found.lines),
        subject=job.decoding.subject,
        **found.facts,
    )
