"""Report: scores and pictures -> one self-contained page."""

import json
import platform
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from pydantic import Field

from mindeye2.core.artifacts import claim_folder, read_manifest, write_manifest, write_text
from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import available_cores, generator
from mindeye2.core.settings import Settings, plain
from mindeye2.data.prepared import Prepared, open_prepared
from mindeye2.metrics import paired_difference
from mindeye2.reporting import (
    Arm,
    BrainSource,
    Comparison,
    Curve,
    CurvePanel,
    Difference,
    GalleryItem,
    ImageScore,
    ReportContent,
    RoiCeiling,
    ScoreRow,
    StageCost,
    default_notes,
    render_page,
)

__all__ = ["ReportSettings", "report"]

_COLUMNS = {
    "blended": ("Reconstruction", "The unCLIP picture and the low-level image, 3 to 1."),
    "unclip": ("unCLIP", "Drawn from the tokens that the prior made of the brain's."),
    "lowlevel": ("Low-level", "Layout and colour, from the low-level head."),
    "ceiling": ("Ceiling", "Drawn from the true tokens: the best that any brain could give."),
    "nearest": (
        "Nearest training",
        "The training picture nearest to what was decoded: shows copies.",
    ),
}
"""Files of pictures: label and explanation."""
_HEADLINE = ("image_top1", "two_way_tokens", "two_way_blended", "pixcorr_blended")
_COMPARED = ("image_top1", "brain_top1", "two_way_tokens")


class ReportSettings(Settings):
    """What the page shows besides the scores it is given."""

    title: str = "What was seen, and what was decoded"
    """Heading."""

    compare: dict[str, Path] = Field(default_factory=dict)
    """Further folders of scores on the same images, by the name of the arm."""

    curves: dict[str, Path] = Field(default_factory=dict)
    """Run folders whose learning curves are shown."""

    costs: Path | None = None
    """JSON file of what each stage cost."""

    max_images: int = 100
    """Images in the gallery."""

    seed: int = 0
    """Seeds the order of the gallery and the bootstrap of differences."""


def report(settings: ReportSettings, *, source: Path, out: Path, resume: bool = False) -> Path:
    """Make the page of one folder of scores.

    Parameters
    ----------
    settings
        What else to show.
    source
        Folder that the stage ``evaluate`` finished.
    out
        Folder to fill with ``index.html``.
    resume
        Fill a folder that an interrupted run left behind.

    Returns
    -------
    Path
        The manifest of `out`.

    Raises
    ------
    ArtifactError
        If a folder that the scores rest on is unfinished or gone, or one to compare with has
        scores of other images.
    """
    scores = read_manifest(source, stage="evaluate")
    decoded = Path(scores["config"]["source"])
    pictures = read_manifest(decoded, stage="reconstruct")
    prepared = open_prepared(Path(pictures["config"]["source"]))
    run = read_manifest(Path(pictures["config"]["init"]), stage="train")
    out = claim_folder(out, resume=resume)
    rows = _rows(source)
    label = str(scores.get("label") or "Brain responses")
    content = ReportContent(
        title=settings.title,
        summary=(
            f"Pictures, captions and identities decoded from the responses of {scores['subject']} "
            f"to {len(_table(source))} images that no training trial showed. Every score stands "
            "beside what guessing gives."
        ),
        brains=BrainSource(
            label=label.partition(":")[0],
            simulated="imulated" in label,
            explanation=label.partition(":")[2].strip() or label,
        ),
        headline=[rows[n] for n in _HEADLINE if n in rows],
        columns=dict(v for k, v in _COLUMNS.items() if k == "nearest" or _there(decoded, k)),
        items=_items(settings, source, decoded=decoded, prepared=prepared),
        pool=[np.asarray(prepared.images[i]) for i in _table(source)["image"]],
        image_scores=[
            ImageScore(name="PixCorr", explanation="Pixel correlation of the blended picture."),
            ImageScore(name="Two-way", percent=True, explanation="By a judge network."),
            ImageScore(name="Rank", higher_is_better=False, digits=0, explanation="In retrieval."),
        ],
        sample_seed=settings.seed,
        scores=list(rows.values()),
        comparisons=_comparisons(settings, source, run),
        learning=_learning(settings),
        ceilings=_ceilings(prepared, scores["subject"]),
        notes=default_notes(simulated="imulated" in label),
        provenance=_provenance(run, prepared),
        stages=_costs(settings.costs),
        config=yaml.safe_dump(run["config"], sort_keys=False),
    )
    write_text(out / "index.html", render_page(content))
    return write_manifest(out, stage="report", config={**plain(settings), "source": str(source)})


def _there(folder: Path, name: str) -> bool:
    return (folder / f"{name}.npy").exists()


def _table(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "scores.parquet")


def _rows(folder: Path) -> dict[str, ScoreRow]:
    summary = json.loads((folder / "summary.json").read_text())
    return {
        s["name"]: ScoreRow(
            metric=s["title"],
            value=s["value"],
            low=s["low"],
            high=s["high"],
            chance=s["chance"],
            floor=s["floor"],
            ceiling=s["ceiling"],
            n=s["n"],
            percent=s["percent"],
            group=s["group"],
            explanation=s["explanation"],
        )
        for s in summary
    }


def _items(
    settings: ReportSettings, source: Path, *, decoded: Path, prepared: Prepared
) -> list[GalleryItem]:
    table, items = _table(source), pd.read_parquet(decoded / "items.parquet")
    retrieved = np.load(source / "retrieved.npy")
    drawn = {n: np.load(decoded / f"{n}.npy") for n in _COLUMNS if _there(decoded, n)}
    # An honest sample: drawn by the seed alone.
    order = torch.randperm(len(items), generator=generator(settings.seed, "gallery")).tolist()
    gallery = []
    for row in sorted(order[: settings.max_images]):
        item, scores = items.iloc[row].to_dict(), table.iloc[row]
        values = {"Rank": float(scores["rank"])}
        if "pixcorr_blended" in table:
            values["PixCorr"] = float(scores["pixcorr_blended"])
            values["Two-way"] = float(scores["two_way_blended"])
        nearest = np.asarray(prepared.images[item["nearest_training_image"]])
        captions = prepared.captions
        gallery.append(
            GalleryItem(
                name=f"image {item['image']}",
                seen=np.asarray(prepared.images[item["image"]]),
                pictures={
                    _COLUMNS[name][0]: picture
                    for name, picture in (
                        *((n, p[row]) for n, p in drawn.items()),
                        ("nearest", nearest),
                    )
                },
                caption=str(item.get("caption", "")),
                true_caption="" if captions is None else captions[item["image"]],
                scores=values,
                retrieved=retrieved[row].tolist(),
                target=row,
                rank=int(scores["rank"]),
                seed=int(item["seed"]),
            )
        )
    return gallery


def _comparisons(
    settings: ReportSettings, source: Path, run: dict[str, object]
) -> list[Comparison]:
    if not settings.compare:
        return []
    own = str(run["config"]["recipe"])  # type: ignore[index]
    folders = {own: source, **{name: Path(p) for name, p in settings.compare.items()}}
    arms, differences = [], []
    mine = _table(source)
    for name, folder in folders.items():
        read_manifest(folder, stage="evaluate")
        rows = _rows(folder)
        chosen = [rows[n] for n in _COMPARED if n in rows]
        arms.append(Arm(name=name, rows=chosen, emphasis=folder == source))
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
        "All arms decode the same test images of the same person; differences are paired by image."
    )
    return [
        Comparison(
            title="The same session, other ways",
            arms=arms,
            differences=differences,
            explanation=text,
        )
    ]


def _learning(settings: ReportSettings) -> list[CurvePanel]:
    losses, scores = [], []
    for name, folder in settings.curves.items():
        log = Path(folder) / "steps.jsonl"
        if not log.exists():
            continue
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        # Losses jump from batch to batch: their running mean is what can be read.
        loss = pd.Series([x["loss"] for x in lines]).rolling(20, min_periods=1).mean()
        every = max(1, len(lines) // 200)
        steps = [float(x["step"]) for x in lines]
        losses.append(Curve(name=name, x=steps[::every], y=loss.tolist()[::every]))
        judged = [x for x in lines if "validation_two_way" in x]
        if len(judged) > 1:
            scores.append(
                Curve(
                    name=name,
                    x=[float(x["step"]) for x in judged],
                    y=[x["validation_two_way"] for x in judged],
                )
            )
    panels = []
    if losses:
        panels.append(
            CurvePanel(
                title="Training loss",
                x_label="step",
                y_label="loss",
                curves=losses,
                explanation="Running mean of 20 steps.",
            )
        )
    if scores:
        panels.append(
            CurvePanel(
                title="Validation: two-way identification",
                x_label="step",
                y_label="share",
                curves=scores,
                chance=0.5,
                percent=True,
                explanation="On images of the validation split, never on test images.",
            )
        )
    return panels


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


def _provenance(run: dict[str, object], prepared: Prepared) -> dict[str, str]:
    config = run["config"]
    assert isinstance(config, dict)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "mindeye2": str(run["mindeye2"]),
        "recipe": str(config["recipe"]),
        "seed": str(config["seed"]),
        "data set": str(prepared.manifest["config"]["kind"]),
        "machine": f"{platform.machine()}, {available_cores()} cores, torch {torch.__version__}",
    }


def _costs(path: Path | None) -> list[StageCost]:
    if path is None or not path.exists():
        return []
    return [
        StageCost(stage=c["stage"], seconds=c["seconds"], peak_gib=c["peak_memory_gib"])
        for c in json.loads(path.read_text())
    ]
