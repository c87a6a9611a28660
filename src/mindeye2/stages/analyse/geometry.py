"""Geometry of the tokens: representational similarity, and one map of predicted and true tokens.

Representational similarity analysis (Kriegeskorte et al. 2008, Front. Syst. Neurosci. 2:4)
correlates the distances between all pairs of images among predicted tokens with those among true
ones, by ranks. The p is of a permutation of the images (Mantel 1967).
"""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
import scipy
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mindeye2.core.errors import ArtifactError, MissingExtraError
from mindeye2.core.runtime import numpy_rng
from mindeye2.core.settings import Settings
from mindeye2.metrics.correlation import standardise_pair
from mindeye2.metrics.umap_distance import umap_points
from mindeye2.stages.analyse.analysis import Analysis, AnalysisJob
from mindeye2.stages.analyse.charts import LinePanel, Series, draw_lines

__all__ = ["GeometrySettings", "compare_geometry"]

_KINDS = {"backbone": "backbone", "retrieval": "retrieval head", "prior": "prior"}


class GeometrySettings(Settings):
    """Settings of the analysis ``geometry``."""

    kind: Literal["geometry"] = "geometry"
    """Name of the analysis."""

    n_permutations: Annotated[int, Field(ge=99)] = 1000
    """Permutations of the images for the p of the representational similarity."""

    seed: int = 0
    """Seeds permutations and UMAP."""


def compare_geometry(settings: GeometrySettings, job: AnalysisJob) -> Analysis:
    """Compare the geometry of each kind of predicted tokens with that of the true ones."""
    decoding = job.decoding
    kinds = [name for name in _KINDS if name in decoding.token_names]
    if "true" not in decoding.token_names or not kinds:
        raise ArtifactError(
            f"{decoding.folder} has the tokens {sorted(decoding.token_names)}, but predicted and "
            "true ones are needed: give a folder that 'mindeye2 reconstruct' made."
        )
    if len(decoding.images) < 4:
        raise ValueError(
            f"{len(decoding.images)} images have too few pairs to compare: decode at least 4."
        )
    true = decoding.tokens("true")
    method, points, rows = "", [], []
    for kind in kinds:
        preds = decoding.tokens(kind)
        method, found = _map(preds, true, seed=settings.seed)
        columns = dict(zip(("x", "y", "true_x", "true_y"), found.T, strict=True))
        points.append(pd.DataFrame({"image": decoding.images.numpy(), "tokens": kind, **columns}))
        gaps = np.linalg.norm(found[:, :2] - found[:, 2:], axis=1)
        rows.append(
            {
                "tokens": kind,
                **correlate_geometry(preds, true, settings=settings),
                "map": method,
                "distance_to_own": gaps.mean(),
                "distance_to_others": _mean_distance(found[:, :2], found[:, 2:]),
            }
        )
    table = pd.DataFrame(rows)
    return Analysis(
        title="Geometry of predicted and true tokens",
        subject=decoding.subject,
        lines=_lines(table, settings, n_images=len(true)),
        tables={"geometry": table, "points": pd.concat(points)},
        figure=_draw(table, pd.concat(points)),
    )


def correlate_geometry(
    preds: Float[Tensor, "images features"],
    true: Float[Tensor, "images features"],
    *,
    settings: GeometrySettings,
) -> dict[str, float]:
    """Correlate the ranks of the pairwise correlation distances of two sets of tokens.

    Returns Spearman's correlation as ``"rsa"``, its one-sided permutation p, and the 95 %
    quantile of the correlations of permuted images.
    """
    left, right = (1 - (x @ x.T).double().numpy() for x in standardise_pair(preds, true))
    upper = np.triu_indices(len(left), 1)
    ranks = scipy.stats.zscore(scipy.stats.rankdata(right[upper]))
    # Permuting images permutes the pairs, so that the ranks are computed once.
    table = np.zeros_like(left)
    table[upper] = scipy.stats.zscore(scipy.stats.rankdata(left[upper]))
    table += table.T

    def statistic(order: np.ndarray) -> float:
        return float(table[np.ix_(order, order)][upper] @ ranks / len(ranks))

    test = scipy.stats.permutation_test(
        (np.arange(len(left)),),
        statistic,
        permutation_type="pairings",
        vectorized=False,
        alternative="greater",
        n_resamples=settings.n_permutations,
        rng=numpy_rng(settings.seed, "permutations"),
    )
    return {
        "rsa": float(test.statistic),
        "p": float(test.pvalue),
        "chance_95": float(np.quantile(test.null_distribution, 0.95)),
    }


def _map(preds: Tensor, true: Tensor, *, seed: int) -> tuple[str, Float[np.ndarray, "images 4"]]:
    """Place predicted and true tokens on one plane: UMAP where installed, else two components."""
    try:
        first, second = umap_points(preds, true, seed=seed)
        return "UMAP", np.concatenate([first, second], axis=1)
    except MissingExtraError:
        centred = true - true.mean(dim=0)
        axes = torch.linalg.svd(centred, full_matrices=False).Vh[:2].T
        planes = [(x - true.mean(dim=0)) @ axes for x in (preds, true)]
        return "principal components", torch.cat(planes, dim=1).numpy()


def _mean_distance(points: np.ndarray, others: np.ndarray) -> float:
    gaps = np.linalg.norm(points[:, None] - others[None], axis=2)
    n = len(gaps)
    return float((gaps.sum() - np.trace(gaps)) / (n * (n - 1)))


def _lines(table: pd.DataFrame, settings: GeometrySettings, *, n_images: int) -> list[str]:
    least = 1 / (settings.n_permutations + 1)
    lines = [
        f"representational similarity with the true tokens, {n_images} images: "
        + ", ".join(
            f"{_KINDS[row['tokens']]} {row['rsa']:.3f} (p {_p(row['p'], least)})"
            for row in table.to_dict("records")
        )
        + f"; 95 % of permutations are below {table['chance_95'].max():.3f}",
        f"distance on the map ({table['map'][0]}) to the own true tokens, to others: "
        + ", ".join(
            f"{_KINDS[row['tokens']]} {row['distance_to_own']:.2f}, "
            f"{row['distance_to_others']:.2f}"
            for row in table.to_dict("records")
        ),
    ]
    if table["map"][0] != "UMAP":
        lines.append("for UMAP instead of principal components: pip install 'mindeye2[umap]'")
    return lines


def _p(value: float, least: float) -> str:
    return f"< {2 * least:.2g}" if value <= 1.5 * least else f"{value:.2g}"


def _draw(table: pd.DataFrame, points: pd.DataFrame) -> str:
    panels = []
    for row in table.to_dict("records"):
        part = points[points["tokens"] == row["tokens"]]
        series = [
            Series(name=name, x=part[x].tolist(), values=part[y].tolist(), line=False)
            for name, x, y in (("true", "true_x", "true_y"), ("predicted", "x", "y"))
        ]
        title = f"{_KINDS[row['tokens']]}: RSA {row['rsa']:.2f}"
        panels.append(LinePanel(title=title, series=series, x_label=str(row["map"]), links=True))
    return draw_lines(panels)
