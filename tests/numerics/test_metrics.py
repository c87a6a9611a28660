"""One harness for all metrics of images, features and captions.

Each is compared with a foreign reference, must give the same scores to permuted images, and the
same scores up to rounding in half precision.
"""

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
import skimage.color
import skimage.metrics
import sklearn.metrics
import torch

from mindeye2 import metrics

N = 12


def by_row(score):
    return lambda preds, targets: [score(p, t) for p, t in zip(preds, targets, strict=True)]


def two_way(preds, targets):
    """Score (reconstruction, distractor) pairs one by one, as the published notebook does."""
    n = len(preds)
    r = np.corrcoef(targets, preds)[:n, n:]
    return [sum(r[i, j] < r[j, j] for i in range(n) if i != j) / (n - 1) for j in range(n)]


def structural(pred, target):
    grey = [skimage.color.rgb2gray(x.transpose(1, 2, 0)) for x in (pred, target)]
    return skimage.metrics.structural_similarity(
        *grey, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
    )


def hits(preds, targets):
    similarity = sklearn.metrics.pairwise.cosine_similarity(preds, targets)
    return [
        sklearn.metrics.top_k_accuracy_score([i], row[None], k=2, labels=range(N))
        for i, row in enumerate(similarity)
    ]


METRICS = {
    "pixcorr": (
        lambda p, t: metrics.pixcorr(p, t, size=None),
        by_row(lambda p, t: scipy.stats.pearsonr(p.ravel(), t.ravel()).statistic),
    ),
    "ssim": (lambda p, t: metrics.ssim(p, t, size=None), by_row(structural)),
    "row_correlation": (
        metrics.row_correlation,
        by_row(lambda p, t: scipy.stats.pearsonr(p, t).statistic),
    ),
    "correlation_distance": (
        metrics.correlation_distance,
        by_row(scipy.spatial.distance.correlation),
    ),
    "two_way_identification": (metrics.two_way_identification, two_way),
    "sentence_similarity": (
        metrics.sentence_similarity,
        by_row(lambda p, t: 1 - scipy.spatial.distance.cosine(p, t)),
    ),
    "top_k_accuracy": (lambda p, t: metrics.top_k_accuracy(p, t, k=2), hits),
}
"""Name -> the metric, and a reference on float64 arrays; both give one score per image."""


@pytest.fixture(params=METRICS)
def case(request, rng):
    """Return a metric, its reference, and reconstructions beside true images or features."""
    score, reference = METRICS[request.param]
    if request.param in ("pixcorr", "ssim"):
        targets, noise = torch.rand(2, N, 3, 16, 16, generator=rng)
        return score, reference, (targets + noise) / 2, targets
    targets, noise = torch.randn(2, N, 40, generator=rng)
    return score, reference, targets + 4 * noise, targets


def test_scores_agree_with_the_reference(case):
    score, reference, preds, targets = case
    expected = reference(preds.double().numpy(), targets.double().numpy())
    found = score(preds, targets)
    assert found.std() > 0
    assert found.tolist() == pytest.approx(list(expected), abs=5e-6)


def test_permuted_images_have_permuted_scores(case, rng):
    score, _, preds, targets = case
    order = torch.randperm(N, generator=rng)
    torch.testing.assert_close(score(preds[order], targets[order]), score(preds, targets)[order])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_scored_in_single(case, dtype):
    score, _, preds, targets = case
    halves = preds.to(dtype), targets.to(dtype)
    found = score(*halves)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, score(*(x.float() for x in halves)))


def test_infinite_values_are_refused(case):
    score, _, preds, targets = case
    preds[2].view(-1)[1] = torch.inf
    with pytest.raises(ValueError, match=r"rows \[2\] of preds hold NaN or infinite"):
        score(preds, targets)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_scores(case):
    score, _, preds, targets = case
    found = score(preds.cuda(), targets.cuda())
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), score(preds, targets), rtol=1e-4, atol=1e-5)
