import numpy as np
import pytest
import scipy.stats
import torch

from mindeye2.generation.scene_kinds import calibrate_kinds, fit_kinds

NAMES = ["a", "b", "c"]


def _scores(n=3000, *, spread=1.0, rng=None):
    """Return whitened scores of three kinds, the last of them rare, and the kinds."""
    rng = rng or torch.Generator().manual_seed(0)
    numbers = torch.multinomial(torch.tensor([0.5, 0.4, 0.1]), n, replacement=True, generator=rng)
    means = spread * torch.randn(3, 4, generator=rng)
    scores = means[numbers] + torch.randn(n, 4, generator=rng)
    scores = scores - scores.mean(dim=0)
    root = torch.linalg.cholesky(scores.T @ scores / n)
    return torch.linalg.solve_triangular(root, scores.T, upper=False).T, numbers


def test_probabilities_are_those_of_normal_distributions_with_one_covariance():
    # By Bayes' rule from scipy's densities of the decoded tokens.
    scores, numbers = _scores()
    kinds = fit_kinds(scores, np.array(NAMES)[numbers], names=NAMES)
    rng = torch.Generator().manual_seed(1)
    loadings, tokens = torch.randn(4, 7, generator=rng), torch.randn(20, 7, generator=rng)
    gram = loadings @ loadings.T
    within = (scores - kinds.means[numbers]) @ loadings
    covariance = within.T @ within / len(within) + 2 * gram.trace() / 4 * torch.eye(7)
    joint = [
        share * scipy.stats.multivariate_normal(mean @ loadings, covariance).pdf(tokens)
        for share, mean in zip(kinds.shares.numpy(), kinds.means, strict=True)
    ]
    found = kinds.probabilities(tokens @ loadings.T, gram=gram)
    np.testing.assert_allclose(found, (joint / np.sum(joint, axis=0)).T, atol=1e-4)


@pytest.mark.parametrize(
    ("per_photograph", "lowest", "highest"), [(1, 0.8, 1.0), (100, 0.05, 0.6)]
)
def test_evidence_counts_less_where_few_photographs_stand_for_a_kind(
    per_photograph, lowest, highest
):
    # Scenes of one photograph share most of what they show: kinds of 20 photographs are uncertain.
    rng = torch.Generator().manual_seed(3)
    scores, numbers = _scores(1200 // per_photograph, spread=0.5, rng=rng)
    numbers = numbers.repeat_interleave(per_photograph)
    scores = scores.repeat_interleave(per_photograph, dim=0)
    scores = scores + 0.1 * torch.randn(scores.shape, generator=rng)
    kinds = calibrate_kinds(
        scores,
        np.array(NAMES)[numbers],
        photographs=np.arange(1200) // per_photograph,
        names=NAMES,
        gram=30 * torch.eye(4),
        generator=rng,
    )
    assert lowest <= kinds.weight <= highest
