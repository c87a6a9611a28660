"""The analyse stage: one analysis of a finished reconstruction or data set."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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
from mindeye2.stages.analyse.geometry import GeometrySettings, compare_geometry
from mindeye2.stages.analyse.learning_curve import LearningCurveSettings, draw_learning_curve
from mindeye2.stages.analyse.recovery import RecoverySettings, profile_recovery
from mindeye2.stages.analyse.roi_images import RoiImagesSettings, generate_roi_images
from mindeye2.stages.analyse.rois import RoisSettings, ablate_regions

__all__ = ["ANALYSES", "analyse"]


@dataclass(frozen=True)
class Kind:
    """One analysis."""

    settings: type[Settings]
    """Its settings."""
    compute: Callable[[Any, AnalysisJob], Analysis]
    """Its function, of settings and job."""
    reads: Literal["reconstruct", "prepare"] = "reconstruct"
    """Stage whose folder it reads."""


ANALYSES: dict[str, Kind] = {
    "brain-correlation": Kind(BrainCorrelationSettings, correlate_with_brain),
    "rois": Kind(RoisSettings, ablate_regions),
    "learning-curve": Kind(LearningCurveSettings, draw_learning_curve, reads="prepare"),
    "geometry": Kind(GeometrySettings, compare_geometry),
    "recovery": Kind(RecoverySettings, profile_recovery),
    "roi-images": Kind(RoiImagesSettings, generate_roi_images),
}
"""Analyses by KIND."""


def analyse(
    settings: Settings,
    *,
    kind: str,
    source: Path,
    out: Path,
    steps: Steps,
    data: Path | None = None,
    init: Path | None = None,
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
        Folder that the stage ``reconstruct`` finished; a prepared data set for
        ``learning-curve``.
    out
        Folder to fill with tables (parquet and CSV) and ``figure.svg``.
    steps
        Steps of other stages that the analysis may run.
    data
        Prepared data set; by default the one that the source was made from.
    init
        Pretrained run that ``learning-curve`` adapts; None fits to the subject alone.
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
    known = ANALYSES[kind]
    _check_inputs(kind, known, data=data, init=init)
    job = AnalysisJob(
        Path(source), data, Path(out), choose_device(device), steps, known.reads, init
    )
    prepared = job.prepared  # refuses a wrong source before a folder is made
    out = claim_folder(out, resume=resume)
    config = {
        **plain(settings),
        "source": record_path(source, folder=out),
        "data": record_path(prepared.folder, folder=out),
        "init": record_path(init, folder=out) if init else None,
    }
    keep_settings(out, config)
    if (out / "manifest.json").exists():
        read_manifest(out, stage="analyse")
        return out / "manifest.json"
    found = known.compute(settings, job)
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
        subject=found.subject,
        **found.facts,
    )


def _check_inputs(kind: str, known: Kind, *, data: Path | None, init: Path | None) -> None:
    if known.reads == "reconstruct" and init is not None:
        raise ValueError(
            f"--init is the pretrained run of 'analyse learning-curve'; {kind!r} reads the run "
            "that made --source. Leave it out."
        )
    if known.reads == "prepare" and data is not None:
        raise ValueError(
            f"--source of {kind!r} is the prepared data set itself: leave --data out."
        )
