"""Report: scores and images -> one self-contained page."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import yaml
from pydantic import Field

from mindeye2.core.artifacts import (
    claim_folder,
    read_manifest,
    record_path,
    resolve_path,
    write_manifest,
    write_text,
)
from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import generator
from mindeye2.core.settings import Settings, plain
from mindeye2.data.prepared import Prepared, open_prepared
from mindeye2.metrics import paired_difference
from mindeye2.metrics.protocols import PROTOCOLS
from mindeye2.reporting import (
    Arm,
    Battery,
    Comparison,
    Difference,
    Note,
    ReportContent,
    ResponseSource,
    RoiCeiling,
    RunGallery,
    ScoreRow,
    StageCost,
    battery_section,
    caption_note,
    check_test_images,
    compare_arms,
    default_notes,
    describe_training,
    gallery_warnings,
    headline_sentence,
    learning_panels,
    read_analyses,
    render_page,
    result_tables,
    retrieval_table,
    score_row,
)
from mindeye2.reporting.decoder_origin import (
    decoder_name,
    model_manifests,
    own_runs,
    provenance,
    run_folder,
)

__all__ = ["ReportSettings", "report"]

_HEADLINE = (
    ("known_image_single", False),
    ("known_image", False),
    ("image_top1", False),
    ("image_given_brain_300", False),
    ("two_way_tokens", False),
    ("two_way", True),
    ("clip", True),
    ("pixcorr", True),
)
"""Scores shown large, where they were computed; true for scores of the reconstruction."""
_COMPARED = ("known_image_single", "known_image", "image_top1", "brain_top1", "two_way_tokens")


class ReportSettings(Settings):
    """Settings of the stage ``report``: what the page shows besides scores."""

    title: str = "Seen and reconstructed images"
    """Heading."""

    compare: dict[str, Path] = Field(default_factory=dict)
    """Folders of scores of other runs on the same images, by the name to show."""

    curves: dict[str, Path] = Field(default_factory=dict)
    """Run folders whose learning curves are shown, by the name to show; by default the run, and
    the pretrained run that it started from."""

    analyses: tuple[Path, ...] = ()
    """Folders of ``mindeye2 analyse`` whose findings and figures are shown."""

    costs: Path | None = None
    """JSON file with time and peak memory of each stage."""

    max_images: Annotated[int, Field(ge=1)] = 1000
    """Images in the gallery; from 100 on each takes less space in the file."""

    seed: int = 0
    """Seeds the order of the gallery and the bootstrap of differences."""


def report(
    settings: ReportSettings,
    *,
    source: Path,
    out: Path,
    data: Path | None = None,
    resume: bool = False,
) -> Path:
    """Render the page of one folder of scores.

    Parameters
    ----------
    settings
        Title, comparisons, curves and size of the page.
    source
        Folder that the stage ``evaluate`` finished.
    out
        Folder to fill with ``index.html``.
    data
        Prepared data set; by default the one that the scores were computed with.
    resume
        Fill a folder that an interrupted run left behind.

    Returns
    -------
    Path
        The manifest of `out`.

    Raises
    ------
    ArtifactError
        If a folder that the scores depend on is unfinished or missing, or one to compare with has
        scores of other images.
    """
    scores = read_manifest(source, stage="evaluate")
    decoded = resolve_path(scores["config"]["source"], folder=source)
    reconstructed = read_manifest(decoded, stage="reconstruct")
    if data is None and "data" in scores["config"]:
        data = resolve_path(scores["config"]["data"], folder=source)
    prepared = open_prepared(
        data or resolve_path(reconstructed["config"]["source"], folder=decoded)
    )
    model = model_manifests(reconstructed, decoded)
    out = claim_folder(out, resume=resume)
    rows, table = _rows(source), _table(source)
    protocol = PROTOCOLS[scores["config"].get("protocol", "laptop")]
    subject = str(scores["subject"])
    simulated = bool(prepared.manifest.get("simulated", False))
    borrowed = reconstructed.get("references") == "scenes"
    gallery = RunGallery(source, decoded=decoded, prepared=prepared)
    best = gallery.best
    check = check_test_images(prepared, table["image"].tolist())
    trained = describe_training(
        run_folder(reconstructed, decoded), prepared=prepared, subject=subject
    )
    retrieval = _retrieval(source)
    comparisons = _comparisons(settings, source, prepared, own=decoder_name(model[0]))
    headline = [f"{name}_{best}" if per_column else name for name, per_column in _HEADLINE]
    content = ReportContent(
        title=settings.title,
        summary=(
            f"Images, captions and retrieval decoded from the responses of {subject} to "
            f"{len(table)} test images{check.clause}. "
            + (f"The decoder was {trained}. " if trained else "")
            + (
                "Fine detail of the reconstructions is that of other scenes, shown beside them. "
                if borrowed
                else ""
            )
            + "Every score is given with its chance level."
        ),
        statement=headline_sentence(rows, n_trials=_n_trials(decoded)),
        arms={name: line for c in comparisons for name, line in compare_arms(c).items()},
        warnings=[*filter(None, [check.warning]), *gallery_warnings(retrieval)],
        responses=ResponseSource.of_label(scores.get("label"), simulated=simulated),
        headline=[rows[n] for n in headline if n in rows],
        columns=gallery.columns,
        items=gallery.items(most=settings.max_images, seed=settings.seed),
        caption_note=caption_note(reconstructed),
        pool=[gallery.stimuli.picture(i) for i in scores.get("gallery", table["image"])],
        image_scores=gallery.image_scores,
        sample_seed=settings.seed,
        scores=list(rows.values()),
        retrieval=retrieval_table(retrieval) if retrieval else None,
        # The page has the last table, all scores, already.
        tables=result_tables(
            _summary(source),
            protocol=protocol.name,
            subject=subject,
            n_images=len(table),
        )[:-1],
        battery=_battery(source),
        comparisons=comparisons,
        analyses=read_analyses(settings.analyses, subject=subject),
        learning=learning_panels(_logs(settings, own=own_runs(reconstructed, decoded))),
        ceilings=_ceilings(prepared, subject),
        notes=[
            *default_notes(
                simulated=simulated,
                noise_ceiling=any(row.noise_ceiling is not None for row in rows.values()),
                borrowed_detail=borrowed,
            ),
            *_missing(scores),
        ],
        provenance={
            **provenance(model, prepared),
            "protocol": f"{protocol.name}: {protocol.summary}",
        },
        stages=_costs(settings.costs),
        config=yaml.safe_dump(
            {decoder_name(m): m["config"] for m in model}
            if len(model) > 1
            else model[0]["config"],
            sort_keys=False,
        ),
    )
    write_text(out / "index.html", render_page(content))
    return write_manifest(
        out,
        stage="report",
        config={**plain(settings), "source": record_path(source, folder=out)},
    )


def _table(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "scores.parquet")


def _n_trials(decoded: Path) -> int | None:
    """Return the single test trials of a design of known images."""
    path = decoded / "trials.parquet"
    return len(pd.read_parquet(path)) if path.exists() else None


def _retrieval(folder: Path) -> dict[str, Any] | None:
    path = folder / "retrieval.json"
    return json.loads(path.read_text()) if path.exists() else None


def _battery(folder: Path) -> Battery | None:
    path = folder / "battery.json"
    return battery_section(json.loads(path.read_text())) if path.exists() else None


def _summary(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "summary.json").read_text())
    return rows


def _rows(folder: Path) -> dict[str, ScoreRow]:
    return {row["name"]: score_row(row) for row in _summary(folder)}


def _missing(scores: Mapping[str, Any]) -> list[Note]:
    """Return a note on the scores of the protocol that were not computed, and how to get them."""
    missing = scores.get("missing", [])
    return [Note(title="Scores that were not computed", text=" ".join(missing))] if missing else []


def _check_protocol(source: Path, folder: Path) -> None:
    mine, theirs = (
        read_manifest(f, stage="evaluate")["config"].get("protocol", "laptop")
        for f in (source, folder)
    )
    if mine != theirs:
        raise ArtifactError(
            f"{source} was scored by the protocol {mine!r} and {folder} by {theirs!r}: their "
            "scores are not comparable. Evaluate both by one protocol."
        )


def _explain_arm(folder: Path, prepared: Prepared) -> str:
    """Describe in half a sentence how the decoder of some scores was trained."""
    scores = read_manifest(folder, stage="evaluate")
    try:
        decoded = resolve_path(scores["config"]["source"], folder=folder)
        reconstructed = read_manifest(decoded, stage="reconstruct")
        init = run_folder(reconstructed, decoded)
    except ArtifactError:  # scores suffice to compare
        return "its run is not where it was"
    trained = describe_training(init, prepared=prepared, subject=str(scores["subject"]))
    if trained:
        return trained
    names = ", ".join(str(m["source"]) for m in model_manifests(reconstructed, decoded))
    return f"imported, not trained here: {names}"


def _comparisons(
    settings: ReportSettings, source: Path, prepared: Prepared, *, own: str
) -> list[Comparison]:
    if not settings.compare:
        return []
    folders = {own: source, **{name: Path(p) for name, p in settings.compare.items()}}
    arms, differences = [], []
    mine = _table(source)
    for name, folder in folders.items():
        read_manifest(folder, stage="evaluate")
        rows = _rows(folder)
        _check_protocol(source, folder)
        chosen = [rows[n] for n in _COMPARED if n in rows]
        arms.append(
            Arm(
                name=name,
                rows=chosen,
                emphasis=folder == source,
                explanation=_explain_arm(folder, prepared),
            )
        )
        if folder == source:
            continue
        theirs = _table(folder).set_index("image")
        missing = sorted(set(mine["image"]) - set(theirs.index))
        if missing:
            raise ArtifactError(
                f"{folder} lacks scores of {len(missing)} images that {source} has, e.g. of image "
                f"{missing[0]}, so they cannot be compared. Evaluate both on one split."
            )
        theirs = theirs.loc[mine["image"]]
        for metric in _COMPARED:
            if metric not in mine or metric not in theirs:
                continue
            gap = paired_difference(
                torch.tensor(mine[metric].to_numpy()),
                torch.tensor(theirs[metric].to_numpy()),
                generator=generator(settings.seed, "difference", name, metric),
            )
            differences.append(
                Difference(
                    a=own,
                    b=name,
                    metric=rows[metric].metric,
                    value=gap.mean,
                    low=gap.low,
                    high=gap.high,
                    percent=True,
                    n=len(mine),
                )
            )
    text = (
        "All runs decode the same test images of the same subject; differences are paired by "
        "image, with 95 % BCa bootstrap intervals. A tie: the interval includes 0."
    )
    return [
        Comparison(
            title="Other runs on the same test images",
            arms=arms,
            differences=differences,
            explanation=text,
        )
    ]


def _logs(settings: ReportSettings, *, own: Mapping[str, Path]) -> dict[str, list[dict[str, Any]]]:
    """Read the step logs of the runs whose curves are shown."""
    paths = {name: Path(run) / "steps.jsonl" for name, run in (settings.curves or own).items()}
    return {
        name: [json.loads(line) for line in path.read_text().splitlines()]
        for name, path in paths.items()
        if path.exists()
    }


def _ceilings(prepared: Prepared, subject: str) -> list[RoiCeiling]:
    voxels = prepared.voxels(subject)
    if "noise_ceiling_1" not in voxels or "roi" not in voxels:
        return []
    return [
        RoiCeiling(
            roi=str(roi),
            n_voxels=len(part),
            median=float(part["noise_ceiling_1"].median()) / 100,
            low=float(part["noise_ceiling_1"].quantile(0.25)) / 100,
            high=float(part["noise_ceiling_1"].quantile(0.75)) / 100,
            averaged=float(part["noise_ceiling_3"].median()) / 100,
        )
        for roi, part in voxels.groupby("roi", sort=True)
    ]


def _costs(path: Path | None) -> list[StageCost]:
    if path is None or not path.exists():
        return []
    return [
        StageCost(stage=c["stage"], seconds=c["seconds"], peak_gib=c["peak_memory_gib"])
        for c in json.loads(path.read_text())
    ]
