"""Paired comparison of two runs, or arms of runs, over metrics: differences, Holm, equivalence."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.errors import require
from mindeye2.core.runtime import generator
from mindeye2.metrics.stats import Difference, paired_difference, unit_means

__all__ = ["PairedTest", "compare_scores", "correct_holm"]


@dataclass(frozen=True)
class PairedTest(Difference):
    """Paired difference with a corrected p and a test of equivalence."""

    p_holm: float
    """`p` after Holm's correction over the metrics that are tested together."""
    p_equivalence: float
    """Larger P of two one-sided paired t tests (TOST, Schuirmann 1987) of a difference as large as
    the margin: small where the runs are equivalent."""

    def verdict(self, *, higher_is_better: bool, alpha: float = 0.05) -> str:
        """Return the conclusion of the two tests: better, worse, equivalent or undecided."""
        equivalent = self.p_equivalence < alpha
        if self.p_holm < alpha:
            better = (self.mean > 0) == higher_is_better
            return ("better" if better else "worse") + (" within the margin" if equivalent else "")
        return "equivalent" if equivalent else "undecided"


def compare_scores(
    a: Mapping[str, Float[Tensor, "*groups images"]],
    b: Mapping[str, Float[Tensor, "*groups images"]],
    *,
    margin: float,
    seed: int,
    level: float = 0.95,
    n_resamples: int = 10_000,
) -> dict[str, PairedTest]:
    """Compare two runs, or arms of runs, on the same images, metric by metric.

    Parameters
    ----------
    a
        Scores of the first run by metric, one per image; of an arm one per seed and image, or per
        subject, seed and image.
    b
        Scores of the second run, or arm, for the same images (seeds, subjects) in the same order.
    margin
        Equivalence margin, in the unit of the scores.
    seed
        Seeds resampling and sign flips, in a separate stream for each metric.
    level
        Coverage of the intervals.
    n_resamples
        Resamples and sign flips.

    Returns
    -------
    dict
        One test per metric; positive where `a` is larger.

    Raises
    ------
    ValueError
        If the metrics or the shapes differ, the margin is not positive, or as in
        `paired_difference`.
    MissingExtraError
        If statsmodels is not installed.
    """
    if set(a) != set(b):
        raise ValueError(
            f"both runs must have the same metrics, but {sorted(set(a) ^ set(b))} are of one only."
        )
    if not margin > 0:
        raise ValueError(f"the margin of equivalence must be positive, got {margin}.")
    gaps = {
        name: paired_difference(
            a[name],
            b[name],
            generator=generator(seed, "compare", name),
            level=level,
            n_resamples=n_resamples,
        )
        for name in a
    }
    tests = {
        name: PairedTest(
            gap.mean,
            gap.low,
            gap.high,
            p=gap.p,
            p_holm=gap.p,
            p_equivalence=_equivalence(a[name], b[name], margin),
        )
        for name, gap in gaps.items()
    }
    return correct_holm(tests)


def correct_holm(tests: Mapping[str, PairedTest]) -> dict[str, PairedTest]:
    """Correct the p of tests for their number (Holm 1979), by statsmodels."""
    if not tests:
        return {}
    module = require(
        "statsmodels.stats.multitest", extra="evaluation", purpose="Holm's correction"
    )
    corrected = module.multipletests([t.p for t in tests.values()], method="holm")[1]
    return {
        name: replace(test, p_holm=float(p))
        for (name, test), p in zip(tests.items(), corrected, strict=True)
    }


def _equivalence(a: Tensor, b: Tensor, margin: float) -> float:
    first, second = (unit_means(x.double().numpy()) for x in (a, b))
    gaps = first - second
    if np.ptp(gaps) <= 1e-12:
        return 0.0 if abs(gaps.mean()) < margin else 1.0  # t divides by the spread
    module = require(
        "statsmodels.stats.weightstats", extra="evaluation", purpose="The test of equivalence"
    )
    return float(module.ttost_paired(first, second, -margin, margin)[0])
