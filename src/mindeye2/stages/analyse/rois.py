"""Regions of interest: what is decoded with only, and without, the voxels of a region.

A region carries what can be decoded from it alone; a region is needed for what is lost without
it. Neighbouring regions carry much of the same, so that little is lost without any single one.
More voxels carry more: random voxels of the same number, from all regions, are the control.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from mindeye2.core.runtime import generator, numpy_rng, progress
from mindeye2.core.settings import Settings
from mindeye2.metrics import bootstrap_interval, top_k_hits, two_way_hits
from mindeye2.metrics.ranking import cosine_similarity
from mindeye2.models.closed_form import RidgeProblem, choose_alpha
from mindeye2.stages.analyse.analysis import Analysis, AnalysisJob
from mindeye2.stages.analyse.charts import DotPanel, Series, draw_dots
from mindeye2.stages.analyse.principal import PrincipalAxes, fit_axes
from mindeye2.stages.analyse.regions import early_and_higher, read_regions
from mindeye2.training.trials import SubjectTrials, load_targets

__all__ = ["RoisSettings", "ablate_regions"]

_LOWLEVEL = ("lowlevel", "sd-latents")
"""Banks of low-level latents, at laptop and at full size."""

_SETS = {
    "only": "only the region",
    "random": "random voxels of that number",
    "without": "without the region",
}

_GROUPS = ("all", "V1 to V4", "higher visual")
"""Sets of several regions."""

Mask = Bool[np.ndarray, " voxels"]


class RoisSettings(Settings):
    """Settings of the analysis ``rois``."""

    kind: Literal["rois"] = "rois"
    """Name of the analysis."""

    method: Literal["refit", "mask"] = "refit"
    """``refit`` fits a ridge regression from each set of voxels to the targets: what the region
    carries. ``mask`` sets the betas of the other voxels to 0, their mean, in the trained decoder:
    what this decoder takes from the region."""

    columns: tuple[str, ...] = ("roi",)
    """Columns of the voxel table that name regions; true and false make one region a column."""

    min_voxels: Annotated[int, Field(ge=2)] = 10
    """Voxels below which a region is left out."""

    n_random: Annotated[int, Field(ge=0)] = 3
    """Random sets of as many voxels as the region has, whose scores are averaged."""

    sessions: tuple[int, ...] | None = None
    """Training sessions of the refit; all by default."""

    n_components: Annotated[int, Field(ge=2)] = 256
    """Principal components of tokens and of low-level latents in which they are compared."""

    n_folds: Annotated[int, Field(ge=2)] = 3
    """Folds over training images that choose the penalty of each ridge."""

    n_resamples: Annotated[int, Field(ge=100)] = 10_000
    """Bootstrap resamples of the images for the 95 % intervals."""

    seed: int = 0
    """Seeds folds, random voxels and bootstrap."""


def ablate_regions(settings: RoisSettings, job: AnalysisJob) -> Analysis:
    """Decode tokens and low-level latents with and without the voxels of each region."""
    decoding = job.decoding
    n_voxels = decoding.prepared.n_voxels[decoding.subject]
    regions = early_and_higher(
        read_regions(
            decoding.prepared,
            decoding.subject,
            columns=settings.columns,
            min_voxels=settings.min_voxels,
        ),
        n_voxels=n_voxels,
    )
    training = decoding.training_trials(settings.sessions).averaged()
    test = decoding.trials().averaged()
    targets = _targets(settings, job, training)
    decode = _refit(settings, training, targets) if settings.method == "refit" else _mask(job)
    rows = []
    sets = list(_voxel_sets(settings, regions))
    for region, which, masks in progress(sets, label=f"regions: {settings.method}"):
        decoded = [decode(test, mask) for mask in masks]
        for target, (axes, _) in targets.items():
            if target not in decoded[0]:
                continue
            true = axes.of_images(load_targets(decoding.prepared, target), test.images)
            found = [_image_scores(_reduced(d[target], axes), true) for d in decoded]
            rows.append(
                {
                    "region": region,
                    "n_voxels": int(regions[region].sum()),
                    "voxels": which,
                    "target": target,
                    **_summary(found, settings, (region, which, target)),
                }
            )
    table = pd.DataFrame(rows)
    return Analysis(
        title=f"Regions of interest, {settings.method}",
        subject=decoding.subject,
        lines=_lines(table, n_images=len(test)),
        tables={"rois": table},
        figure=_draw(table),
    )


def _targets(
    settings: RoisSettings, job: AnalysisJob, training: SubjectTrials
) -> dict[str, tuple[PrincipalAxes, Tensor]]:
    """Return axes and training scores of the run's tokens, and of the low-level latents."""
    prepared = job.decoding.prepared
    there = {path.name for path in (prepared.folder / "targets").glob("*")}
    names = [job.decoding.encoder, *[name for name in _LOWLEVEL if name in there][:1]]
    targets = {}
    for name in names:
        bank = load_targets(prepared, name)
        axes = fit_axes(
            bank,
            training.images,
            n_components=settings.n_components,
            generator=generator(settings.seed, "components", name),
        )
        targets[name] = axes, axes.of_images(bank, training.images)
    return targets


def _voxel_sets(
    settings: RoisSettings, regions: Mapping[str, Mask]
) -> Iterator[tuple[str, str, list[Mask]]]:
    """Yield region, what is used of it, and the masks whose scores are averaged."""
    for region, mask in regions.items():
        if mask.all():
            yield region, "only", [mask]
            continue
        yield region, "only", [mask]
        yield region, "without", [~mask]
        rng = numpy_rng(settings.seed, "random voxels", region)
        sets = [rng.permutation(mask) for _ in range(settings.n_random)]
        if sets:
            yield region, "random", sets


Decode = Callable[[SubjectTrials, Mask], dict[str, Tensor]]


def _refit(
    settings: RoisSettings,
    training: SubjectTrials,
    targets: Mapping[str, tuple[PrincipalAxes, Tensor]],
) -> Decode:
    """Decode by a ridge from the chosen voxels to the principal components of the targets."""
    betas = training.betas[:]

    def decode(test: SubjectTrials, mask: Mask) -> dict[str, Tensor]:
        voxels, decoded = torch.from_numpy(mask), {}
        for name, (_, scores) in targets.items():
            problem = RidgeProblem(betas[:, voxels], scores)
            folds = generator(settings.seed, "folds", name)
            alpha, _ = choose_alpha(
                problem, training.images, generator=folds, n_folds=settings.n_folds
            )
            decoded[name] = problem.fit().predict(test.betas[:][:, voxels], alpha)
        return decoded

    return decode


def _mask(job: AnalysisJob) -> Decode:
    """Decode by the trained model, with betas of 0 outside the chosen voxels."""
    model = job.steps.load_run(job.decoding.run).model.to(job.device)

    @torch.inference_mode()
    def decode(test: SubjectTrials, mask: Mask) -> dict[str, Tensor]:
        used = torch.from_numpy(mask).float()
        parts: dict[str, list[Tensor]] = {}
        for betas in test.betas.split(50):
            output = model((betas * used).to(job.device), subject=job.decoding.subject)
            values = {job.decoding.encoder: output.backbone_tokens}
            values |= dict.fromkeys(_LOWLEVEL, output.lowlevel_latents)
            for name, value in values.items():
                if value is not None:
                    parts.setdefault(name, []).append(value.float().cpu())
        return {name: torch.cat(values).clone() for name, values in parts.items()}

    return decode


def _reduced(
    decoded: Float[Tensor, "images ..."], axes: PrincipalAxes
) -> Float[Tensor, "images components"]:
    """Return principal-component scores; a refit predicts them at once."""
    n_features, n_components = axes.components.shape
    is_reduced = decoded.shape[1:] == (n_components,) and n_features != n_components
    return decoded if is_reduced else axes(decoded)


def _image_scores(preds: Tensor, true: Tensor) -> dict[str, Float[Tensor, " images"]]:
    """Identify images by cosine in the principal components, which are centred on training."""
    near = cosine_similarity(preds, true)
    return {"two_way": two_way_hits(near), "top1": top_k_hits(near, k=1)}


def _summary(
    found: list[dict[str, Tensor]], settings: RoisSettings, stream: tuple[str, ...]
) -> dict[str, float]:
    scores: dict[str, float] = {}
    for name in found[0]:
        interval = bootstrap_interval(
            torch.stack([f[name] for f in found]).mean(dim=0),
            generator=generator(settings.seed, "bootstrap", name, *stream),
            n_resamples=settings.n_resamples,
        )
        scores |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return scores


def _title(target: str) -> str:
    return "low-level latents" if target in _LOWLEVEL else "tokens"


def _lines(table: pd.DataFrame, *, n_images: int) -> list[str]:
    lines = [f"two-way identification of {n_images} images by cosine, chance 50 %"]
    for target, part in table.groupby("target", sort=False):
        scores = part.set_index(["region", "voxels"])["two_way"]
        single = [r for r in dict.fromkeys(part["region"]) if r not in _GROUPS]
        only = sorted(single, key=lambda r: -scores[r, "only"])
        worst = min(single, key=lambda r: scores[r, "without"])
        title = _title(str(target))
        lines += [
            f"{title}, only one region: "
            + ", ".join(f"{r} {scores[r, 'only']:.1%}" for r in ["all", *only]),
            f"{title}, most is lost without {worst}: {scores[worst, 'without']:.1%}",
        ]
    return lines


def _draw(table: pd.DataFrame) -> str:
    regions = list(dict.fromkeys(table["region"]))
    panels = []
    for target, part in table.groupby("target", sort=False):
        series = []
        for which, name in _SETS.items():
            rows = part[part["voxels"] == which].set_index("region").reindex(regions)
            if rows["two_way"].notna().any():
                values = {k: rows[k].tolist() for k in ("two_way", "two_way_low", "two_way_high")}
                low, high = values["two_way_low"], values["two_way_high"]
                series.append(Series(name=name, values=values["two_way"], low=low, high=high))
        title = f"{_title(str(target))}: two-way identification"
        panels.append(DotPanel(title=title, series=series, chance=0.5, percent=True))
    sizes = table.drop_duplicates("region")["n_voxels"]
    labels = [f"{row} ({size})" for row, size in zip(regions, sizes, strict=True)]
    return draw_dots(labels, panels)
