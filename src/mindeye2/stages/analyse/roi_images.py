"""Images that a decoder generates from activity in one region alone.

The paper's synthetic stimuli (Scotti et al. 2024, appendix): the voxels of a region are set to 1,
all others to 0, and the pattern is decoded. Such images suggest what a region stands for and prove
nothing: many claimed activations fail a test (BrainCause, arXiv 2605.23895). So an encoding model,
fitted to the subject's own responses, predicts the region's response to each image.
"""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import scipy
import torch
from jaxtyping import Bool, Float, UInt8
from pydantic import Field
from torch import Tensor

from mindeye2.core.runtime import generator
from mindeye2.core.settings import Settings
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.registry import load_encoder
from mindeye2.models.moments import row_chunks
from mindeye2.stages.analyse.analysis import Analysis, AnalysisJob
from mindeye2.stages.analyse.charts import draw_images
from mindeye2.stages.analyse.encoding import fit_encoding
from mindeye2.stages.analyse.regions import read_regions
from mindeye2.training.trials import load_targets

__all__ = ["RoiImagesSettings", "generate_roi_images"]


class RoiImagesSettings(Settings):
    """Settings of the analysis ``roi-images``."""

    kind: Literal["roi-images"] = "roi-images"
    """Name of the analysis."""

    columns: tuple[str, ...] = ("roi",)
    """Columns of the voxel table that name regions; true and false make one region a column."""

    min_voxels: Annotated[int, Field(ge=1)] = 10
    """Voxels below which a region is left out."""

    value: float = 1.0
    """Z-scored beta of the voxels of the region; all others are 0, their mean."""

    n_samples: Annotated[int, Field(ge=1)] = 4
    """Images of each region, from different random seeds."""

    weights: Path | None = None
    """Imported weights of the run's image encoder, where it needs any."""

    n_components: Annotated[int, Field(ge=1)] = 256
    """Principal components of the tokens that are the features of the encoding model."""

    n_folds: Annotated[int, Field(ge=2)] = 5
    """Folds over training images that choose its alpha, voxel by voxel."""

    seed: int = 0
    """Seeds images and folds."""


def generate_roi_images(settings: RoiImagesSettings, job: AnalysisJob) -> Analysis:
    """Decode activity of each region alone, and predict the responses to the images."""
    decoding = job.decoding
    regions = read_regions(
        decoding.prepared,
        decoding.subject,
        columns=settings.columns,
        min_voxels=settings.min_voxels,
    )
    n = settings.n_samples
    patterns = np.stack([mask.astype(np.float32) * settings.value for mask in regions.values()])
    images, captions = job.steps.decode(
        decoding, patterns.repeat(n, axis=0), seed=settings.seed, device=job.device
    )
    np.save(job.out / "images.npy", images)
    responses, norm = _responses(settings, job, images=images, regions=regions)
    rows = []
    for number, region in enumerate(regions):
        own = slice(number * n, (number + 1) * n)
        others = np.delete(responses[:, number], np.arange(len(images))[own])
        for sample, value in enumerate(responses[own, number]):
            rows.append(
                {
                    "region": region,
                    "n_voxels": int(regions[region].sum()),
                    "sample": sample,
                    "row": number * n + sample,
                    "caption": captions[number * n + sample] if captions else "",
                    "response": value,
                    "response_to_others": others.mean() if len(others) else np.nan,
                    "percentile": scipy.stats.percentileofscore(norm[:, number], value),
                }
            )
    table = pd.DataFrame(rows)
    return Analysis(
        title="Images from activity in one region",
        subject=decoding.subject,
        lines=_lines(table, settings),
        tables={"roi_images": table},
        figure=draw_images(
            {r: list(images[i * n : (i + 1) * n]) for i, r in enumerate(regions)}, side=112
        ),
    )


def _responses(
    settings: RoiImagesSettings,
    job: AnalysisJob,
    *,
    images: UInt8[np.ndarray, "images height width rgb"],
    regions: dict[str, Bool[np.ndarray, " voxels"]],
) -> tuple[Float[np.ndarray, "images _"], Float[np.ndarray, "images2 _"]]:
    """Predict the mean response of each region to the images, and to the training images."""
    decoding = job.decoding
    bank = load_targets(decoding.prepared, decoding.encoder)
    trials = decoding.training_trials()
    model = fit_encoding(
        bank,
        trials,
        n_components=settings.n_components,
        n_folds=settings.n_folds,
        generator=generator(settings.seed, "encoding model"),
    )
    encoder = load_encoder(decoding.encoder, weights=settings.weights)
    if isinstance(encoder, torch.nn.Module):
        encoder = encoder.to(job.device)
    pooled = np.stack([mask / mask.sum() for mask in regions.values()], axis=1)
    pool = torch.from_numpy(pooled.astype(np.float32))
    with torch.inference_mode():
        batches = [to_float(images[s : s + 32]) for s in range(0, len(images), 32)]
        found = [model(encoder(b.to(job.device)).float().cpu()) @ pool for b in batches]
        shown = trials.images.unique()
        chunks = row_chunks(shown, width=bank.flat.shape[1])
        norm: list[Tensor] = [model(bank[chunk]) @ pool for chunk in chunks]
    return torch.cat(found).numpy(), torch.cat(norm).numpy()


def _lines(table: pd.DataFrame, settings: RoiImagesSettings) -> list[str]:
    mean = table.groupby("region", sort=False)[["percentile", "response"]].mean()
    driven = mean[mean["percentile"] >= 90]
    captions = [
        f"{region}: {part['caption'].iloc[0]}"
        for region, part in table.groupby("region", sort=False)
        if part["caption"].iloc[0]
    ]
    lines = [
        f"{len(mean)} regions, {settings.n_samples} images each, voxels set to {settings.value:g}",
        "predicted response of the region among its responses to training images, percentile: "
        + ", ".join(f"{r} {p:.0f}" for r, p in zip(mean.index, mean["percentile"], strict=True)),
        f"{len(driven)} of {len(mean)} regions are driven by their images (percentile 90 or "
        "above); the others' images are no evidence of what they stand for",
    ]
    return [*lines, "first captions: " + "; ".join(captions)] if captions else lines
