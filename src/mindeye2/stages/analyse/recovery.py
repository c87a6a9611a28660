"""Recovery profile of the target space: which of its dimensions repeat, and which are right.

For each principal component of the true tokens: do predictions from single presentations of an
image agree with each other (reliability), and do they agree with the image (recovery)? What
repeats without being right is an error that the decoder makes each time.
"""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
import scipy
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mindeye2.core.runtime import generator, progress
from mindeye2.core.settings import Settings
from mindeye2.data.reliability import ncsnr, noise_ceiling
from mindeye2.metrics.dimensionality import participation_ratio
from mindeye2.stages.analyse.analysis import Analysis, AnalysisJob
from mindeye2.stages.analyse.charts import LinePanel, Series, draw_lines
from mindeye2.stages.analyse.principal import PrincipalAxes, fit_axes
from mindeye2.training.trials import load_targets

__all__ = ["RecoverySettings", "profile_recovery"]

_RELIABLE = 0.5
"""Reliability above which a component counts as repeating."""


class RecoverySettings(Settings):
    """Settings of the analysis ``recovery``."""

    kind: Literal["recovery"] = "recovery"
    """Name of the analysis."""

    n_components: Annotated[int, Field(ge=2)] = 50
    """Leading principal components of the true tokens of training images."""

    level: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """False discovery rate among the components that count as recovered (Benjamini and Hochberg
    1995)."""

    batch_size: Annotated[int, Field(ge=1)] = 50
    """Trials per batch; changes no result."""

    seed: int = 0
    """Samples the images of the principal components, where there are more than 5,000."""


def profile_recovery(settings: RecoverySettings, job: AnalysisJob) -> Analysis:
    """Compute reliability over presentations and recovery of each component of the tokens."""
    decoding = job.decoding
    axes = fit_axes(
        load_targets(decoding.prepared, decoding.encoder),
        decoding.training_trials().images.unique(),
        n_components=settings.n_components,
        generator=generator(settings.seed, "components"),
    )
    stored = decoding.tokens("true")
    true, preds = axes(stored), axes(decoding.tokens("backbone"))
    single, shown = _single_trials(settings, job, axes)
    profile = {
        "component": np.arange(1, true.shape[1] + 1),
        "variance": (true.var(dim=0) / stored.var(dim=0).sum()).numpy(),
        "reliability": _reliability(single, shown),
        **_correlations(preds.numpy(), true.numpy(), level=settings.level),
        "sd_ratio": (preds.std(dim=0) / true.std(dim=0)).numpy(),
    }
    table = pd.DataFrame(profile)
    return Analysis(
        title="Recovery profile of the target space",
        subject=decoding.subject,
        lines=_lines(table, settings, preds=preds, true=true),
        tables={"recovery": table},
        figure=_draw(table),
    )


@torch.inference_mode()
def _single_trials(
    settings: RecoverySettings, job: AnalysisJob, axes: PrincipalAxes
) -> tuple[Float[np.ndarray, "trials components"], np.ndarray]:
    """Decode each presentation by itself."""
    trials = job.decoding.trials()
    model = job.steps.load_run(job.decoding.run).model.to(job.device)
    scores = []
    chunks = torch.arange(len(trials)).split(settings.batch_size)
    for rows in progress(chunks, label="single presentations"):
        output = model(trials.betas[rows].to(job.device), subject=job.decoding.subject)
        scores.append(axes(output.backbone_tokens.float().cpu()))
    return torch.cat(scores).numpy(), trials.images.numpy()


def _reliability(
    scores: Float[np.ndarray, "trials components"], images: np.ndarray
) -> Float[np.ndarray, " components"]:
    """Return the fraction of the variance of single predictions that repeats with the image."""
    if len(np.unique(images)) == len(images):
        return np.full(scores.shape[1], np.nan)
    return noise_ceiling(ncsnr(scores, images), n_repeats=1) / 100


def _correlations(
    preds: Float[np.ndarray, "images components"],
    true: Float[np.ndarray, "images components"],
    *,
    level: float,
) -> dict[str, np.ndarray]:
    """Correlate over images, component by component, with one-sided p and false discovery rate."""
    with np.errstate(all="ignore"):
        found = [
            scipy.stats.pearsonr(p, t, alternative="greater") if np.ptp(p) > 0 else (0.0, 1.0)
            for p, t in zip(preds.T, true.T, strict=True)
        ]
    r, p = np.array(found, dtype=float).T
    q = scipy.stats.false_discovery_control(p)
    return {"correlation": r, "p": p, "q": q, "recovered": q < level}


def _lines(
    table: pd.DataFrame, settings: RecoverySettings, *, preds: Tensor, true: Tensor
) -> list[str]:
    recovered = table[table["recovered"]]
    lines = [
        f"{len(recovered)} of {len(table)} components are recovered (false discovery rate "
        f"{settings.level:.0%}, {len(true)} images); they hold {recovered['variance'].sum():.0%} "
        f"of the variance of the true tokens, all {len(table)} {table['variance'].sum():.0%}",
        f"correlation with the true component: {table['correlation'].iloc[0]:.2f} for the first, "
        f"median {table['correlation'].median():.2f}",
    ]
    if table["reliability"].notna().any():
        stable = table[(table["reliability"] > _RELIABLE) & ~table["recovered"]]
        named = ", ".join(str(c) for c in stable["component"][:8])
        lines.append(
            f"reliability of one presentation: median {table['reliability'].median():.2f}; "
            f"{len(stable)} components repeat without being recovered"
            + (f" ({named})" if named else "")
        )
    else:
        lines.append("reliability: no image was shown twice")
    lines.append(
        f"participation ratio: {participation_ratio(preds):.1f} components in the predictions, "
        f"{participation_ratio(true):.1f} in the true tokens"
    )
    return lines


def _draw(table: pd.DataFrame) -> str:
    x = table["component"].astype(float).tolist()
    agreement = [
        Series(
            name="correlation with the true component", x=x, values=table["correlation"].tolist()
        )
    ]
    if table["reliability"].notna().any():
        agreement.append(
            Series(
                name="reliability of one presentation", x=x, values=table["reliability"].tolist()
            )
        )
    ratio = [Series(name="ratio", x=x, values=table["sd_ratio"].tolist())]
    label = "principal component of the true tokens"
    return draw_lines(
        [
            LinePanel(title="Agreement over images", series=agreement, chance=0.0, x_label=label),
            LinePanel(title="SD of predictions over SD of truth", series=ratio, x_label=label),
        ]
    )
