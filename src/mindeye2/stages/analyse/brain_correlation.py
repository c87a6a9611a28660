"""Brain correlation: responses that an encoding model predicts for images, against measured ones.

The paper's measure (Scotti et al. 2024, Table 3) by region, with GNet where its weights are, or
with a ridge encoding model that is fitted here to the subject's training trials.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import generator, progress
from mindeye2.core.settings import Settings
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.gnet import predict_responses, read_gnet
from mindeye2.encoders.registry import load_encoder
from mindeye2.metrics import bootstrap_interval
from mindeye2.metrics.catalogue import IMAGES
from mindeye2.metrics.correlation import standardise_pair
from mindeye2.metrics.noise_ceiling import Halves, correlation_ceiling
from mindeye2.stages.analyse.analysis import Analysis, AnalysisJob
from mindeye2.stages.analyse.charts import DotPanel, Series, draw_dots
from mindeye2.stages.analyse.decoding_folder import Decoding
from mindeye2.stages.analyse.encoding import fit_encoding
from mindeye2.stages.analyse.regions import early_and_higher, read_regions
from mindeye2.training.trials import average_halves, load_targets

__all__ = ["BrainCorrelationSettings", "correlate_with_brain"]

_SEEN = "seen"

_SIDE = 256
"""Side of the images that the published evaluation gives to GNet."""

Batch = Float[Tensor, "batch rgb height width"]


class BrainCorrelationSettings(Settings):
    """Settings of the analysis ``brain-correlation``."""

    kind: Literal["brain-correlation"] = "brain-correlation"
    """Name of the analysis."""

    model: Literal["ridge", "gnet"] = "ridge"
    """Encoding model: a ridge regression from image tokens to betas that is fitted here to the
    subject's training trials, for any data set; or GNet, the paper's, for NSD."""

    networks: Path | None = None
    """Folder of networks that holds ``gnet``, which ``mindeye2 import --released gnet`` makes."""

    encoder: str | None = None
    """Image encoder of the ridge, whose tokens the data set was prepared with; by default the one
    whose tokens the run predicts."""

    weights: Path | None = None
    """Imported weights of that encoder, where it needs any."""

    columns: tuple[str, ...] = ("roi",)
    """Columns of the voxel table that name regions; true and false make one region a column."""

    min_voxels: Annotated[int, Field(ge=2)] = 10
    """Voxels below which a region is left out."""

    n_components: Annotated[int, Field(ge=1)] = 256
    """Principal components of the tokens that are the ridge's features."""

    n_folds: Annotated[int, Field(ge=2)] = 5
    """Folds over training images that choose alpha, voxel by voxel."""

    batch_size: Annotated[int, Field(ge=1)] = 50
    """Images per batch of the networks; changes no result."""

    n_resamples: Annotated[int, Field(ge=100)] = 10_000
    """Bootstrap resamples of the images for the 95 % intervals."""

    seed: int = 0
    """Seeds folds and bootstrap."""


def correlate_with_brain(settings: BrainCorrelationSettings, job: AnalysisJob) -> Analysis:
    """Correlate predicted with measured responses over the voxels of each region."""
    decoding = job.decoding
    if not decoding.files:
        raise ArtifactError(
            f"{decoding.folder} has no images, only tokens: reconstruct with images=true."
        )
    subject = decoding.subject
    n_voxels = decoding.prepared.n_voxels[subject]
    named = read_regions(
        decoding.prepared, subject, columns=settings.columns, min_voxels=settings.min_voxels
    )
    regions = early_and_higher(named, n_voxels=n_voxels)
    trials = decoding.trials()
    averaged, halves = trials.averaged(), average_halves(trials, decoding.images)
    measured = averaged.betas[torch.searchsorted(averaged.images, decoding.images)]
    predict, held_out = _encoding_model(settings, job)
    rows = []
    for kind in (_SEEN, *decoding.files):
        batches = _batches(decoding, kind, size=settings.batch_size)
        n_batches = -(-len(decoding.images) // settings.batch_size)
        shown = progress(batches, label=f"predicted responses: {_title(kind)}", total=n_batches)
        with torch.inference_mode():
            predicted = torch.cat([predict(batch) for batch in shown]).clone()
        for region, mask in regions.items():
            rows.append(
                {
                    "region": region,
                    "n_voxels": int(mask.sum()),
                    "images": kind,
                    **_scores(predicted[:, mask], measured[:, mask], settings, region, kind),
                    "held_out": float(held_out[mask].mean()) if held_out is not None else np.nan,
                    **_noise_ceiling(halves, mask),
                }
            )
    table = pd.DataFrame(rows)
    return Analysis(
        title="Brain correlation by region",
        subject=subject,
        lines=_lines(table, settings, n_images=len(measured)),
        tables={"brain_correlation": table},
        figure=_draw(table),
    )


def _noise_ceiling(halves: Halves | None, mask: Bool[np.ndarray, " voxels"]) -> dict[str, float]:
    """Bound the correlation over the voxels of a region; NaN where images were shown once."""
    if halves is None:
        return {"noise_ceiling_low": np.nan, "noise_ceiling_high": np.nan}
    ceiling = correlation_ceiling(halves.of(mask))
    return {"noise_ceiling_low": ceiling.low, "noise_ceiling_high": ceiling.high}


def _encoding_model(
    settings: BrainCorrelationSettings, job: AnalysisJob
) -> tuple[Callable[[Batch], Float[Tensor, "batch voxels"]], Tensor | None]:
    """Return the map from images to responses, and the held-out accuracy of its voxels."""
    decoding = job.decoding
    if settings.model == "gnet":
        return _gnet(settings, job), None
    name = settings.encoder or decoding.encoder
    bank = load_targets(decoding.prepared, name)
    encoder = load_encoder(name, weights=settings.weights)
    if isinstance(encoder, torch.nn.Module):
        encoder = encoder.to(job.device)
    model = fit_encoding(
        bank,
        decoding.training_trials(),
        n_components=settings.n_components,
        n_folds=settings.n_folds,
        generator=generator(settings.seed, "encoding model"),
    )
    return lambda batch: model(encoder(batch.to(job.device)).float().cpu()), model.held_out


def _gnet(settings: BrainCorrelationSettings, job: AnalysisJob) -> Callable[[Batch], Tensor]:
    folder = None if settings.networks is None else Path(settings.networks) / "gnet"
    if folder is None or not folder.exists():
        raise ArtifactError(
            "GNet (1.3 GB, NSD's terms) is not there: run 'mindeye2 import --released gnet --out "
            "NETWORKS/gnet' and add --set networks=NETWORKS, or leave model=ridge."
        )
    subject = job.decoding.subject
    gnet = read_gnet(folder, subject=subject).to(job.device)
    found, wanted = len(gnet.readout.b), job.decoding.prepared.n_voxels[subject]
    if found != wanted:
        raise ArtifactError(
            f"GNet predicts {found} voxels of {subject}, the data set has {wanted}: prepare all "
            "voxels of nsdgeneral at 1.8 mm, or take model=ridge."
        )
    side = (_SIDE, _SIDE)
    return lambda batch: predict_responses(gnet, F.interpolate(batch, side, mode="bilinear"))


def _batches(decoding: Decoding, kind: str, *, size: int) -> Iterator[Batch]:
    stored = None if kind == _SEEN else np.load(decoding.files[kind], mmap_mode="r")
    for rows in torch.arange(len(decoding.images)).split(size):
        images = decoding.images[rows].numpy()
        yield to_float(
            decoding.prepared.images[images] if stored is None else stored[rows.numpy()]
        )


def _scores(
    predicted: Tensor, measured: Tensor, settings: BrainCorrelationSettings, *stream: str
) -> dict[str, float]:
    """Correlate over voxels: each image with its own response, and with those of the others."""
    left, right = standardise_pair(predicted, measured)
    every = left @ right.T
    own, n = every.diagonal(), len(every)
    interval = bootstrap_interval(
        own,
        generator=generator(settings.seed, "bootstrap", *stream),
        n_resamples=settings.n_resamples,
    )
    others = (every.sum() - own.sum()) / max(n * (n - 1), 1)
    return {
        "value": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "other_images": float(others),
    }


def _title(kind: str) -> str:
    return "seen image" if kind == _SEEN else IMAGES[kind]


def _lines(table: pd.DataFrame, settings: BrainCorrelationSettings, *, n_images: int) -> list[str]:
    kept = table[table["region"] == "all"].to_dict("records")
    whole = {row["images"]: row for row in kept}
    own = whole[_best(table)]
    lines = [
        f"{n_images} images; predicted by {settings.model}, correlated over all voxels: "
        + ", ".join(
            f"{_title(row['images'])} {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
            for row in (whole[_SEEN], own)
        )
        + f"; with responses to other images {own['other_images']:.3f}"
    ]
    if np.isfinite(own["noise_ceiling_high"]):
        lines.append(
            f"noise ceiling over all voxels: {own['noise_ceiling_low']:.3f} to "
            f"{own['noise_ceiling_high']:.3f}"
        )
    best = table[(table["images"] == _best(table)) & (table["region"] != "all")]
    ordered = best.sort_values("value", ascending=False)
    lines.append(
        f"{_title(_best(table))} by region: "
        + ", ".join(
            f"{region} {value:.3f}"
            for region, value in zip(ordered["region"], ordered["value"], strict=True)
        )
    )
    if np.isfinite(own["held_out"]):
        lines.append(
            "encoding model on held-out training images: mean correlation over voxels "
            f"{own['held_out']:.3f}"
        )
    return lines


def _best(table: pd.DataFrame) -> str:
    """Return the kind of image that counts as the reconstruction."""
    kinds = [str(kind) for kind in table["images"]]
    return next(k for k in ("blended", "refined", "unclip", "lowlevel", *kinds) if k in kinds)


def _draw(table: pd.DataFrame) -> str:
    rows = list(dict.fromkeys(table["region"]))
    series = [
        Series(
            name=_title(str(kind)),
            values=part["value"].tolist(),
            low=part["low"].tolist(),
            high=part["high"].tolist(),
        )
        for kind, part in table.groupby("images", sort=False)
    ]
    sizes = table.drop_duplicates("region")["n_voxels"]
    labels = [f"{row} ({size})" for row, size in zip(rows, sizes, strict=True)]
    panel = DotPanel(title="correlation over voxels", series=series, chance=0.0)
    return draw_dots(labels, [panel])
