"""One harness for all metrics of images, features and captions.

Each is compared with a foreign reference and must give the same scores to permuted images; those
of images and features also the same up to rounding in half precision, and on a GPU.
"""

import re
import sys
from collections import Counter
from math import comb
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
import skimage.color
import skimage.metrics
import sklearn.metrics
import torch

from mindeye2 import metrics
from mindeye2.encoders.feature_extractors import FEATURE_EXTRACTORS
from mindeye2.metrics.catalogue import METRICS as CATALOGUE
from mindeye2.metrics.ranking import cosine_similarity

N, POOL = 12, 5


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


def ranks(preds, targets):
    similarity = sklearn.metrics.pairwise.cosine_similarity(preds, targets)
    return [scipy.stats.rankdata(-row)[i] for i, row in enumerate(similarity)]


def hits_of_pool(preds, targets):
    """Count the pools of the true image and others in which none of the others is nearer."""
    better = [int(rank) - 1 for rank in ranks(preds, targets)]
    return [comb(N - 1 - b, POOL - 1) / comb(N - 1, POOL - 1) for b in better]


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
    "top_k_hits": (
        lambda p, t: metrics.top_k_hits(cosine_similarity(p, t), k=1, pool=POOL),
        hits_of_pool,
    ),
    "match_ranks": (lambda p, t: metrics.match_ranks(cosine_similarity(p, t)), ranks),
    "two_way_hits": (
        lambda p, t: metrics.two_way_hits(cosine_similarity(p, t)),
        lambda p, t: [(N - rank) / (N - 1) for rank in ranks(p, t)],
    ),
    "umap_distance": (
        metrics.umap_distance,
        by_row(lambda p, t: scipy.spatial.distance.euclidean(p[:2], t[:2])),
    ),
}
"""Name -> the metric, and a reference on float64 arrays; both give one score per image."""


@pytest.fixture
def projection(monkeypatch):
    """Replace UMAP, whose points depend on the order of rows, by the first two features."""
    module = ModuleType("umap")
    module.UMAP = lambda **_: SimpleNamespace(fit_transform=lambda x: x[:, :2])
    monkeypatch.setitem(sys.modules, "umap", module)


@pytest.fixture(params=METRICS)
def case(request, rng, projection):  # noqa: ARG001
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
    if score is not metrics.umap_distance:  # umap-learn computes on the CPU
        assert found.is_cuda
    torch.testing.assert_close(found.cpu(), score(preds, targets), rtol=1e-4, atol=1e-5)


def shared_words(pred, target):
    return sum((Counter(pred.split()) & Counter(target.split())).values())


def common_subsequence(a, b):
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return 1 + common_subsequence(a[:-1], b[:-1])
    return max(common_subsequence(a[:-1], b), common_subsequence(a, b[:-1]))


def f1(matches, pred, target):
    return 2 * matches / (len(pred.split()) + len(target.split()))


def exact_meteor(pred, target):
    """Follow Banerjee and Lavie 2005 for words that occur once and match exactly or not at all."""
    order = [target.split().index(w) for w in pred.split() if w in target.split()]
    if not order:
        return 0.0
    places = [pred.split().index(target.split()[i]) for i in order]
    chunks = 1 + sum(
        (b - a, q - p) != (1, 1)
        for a, b, p, q in zip(order, order[1:], places, places[1:], strict=False)
    )
    precision, recall = len(order) / len(pred.split()), len(order) / len(target.split())
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    return mean * (1 - 0.5 * (chunks / len(order)) ** 3)


def word_f1(pred, target):
    words = sorted({*pred.split(), *target.split()})
    member = [[word in text.split() for word in words] for text in (target, pred)]
    return sklearn.metrics.f1_score(*member)


PREDS = ["red boat", "big dogs run", "man eats bread", "blue car", "cat mat sat", "dog bus"]
TARGETS = ["boat red", "big dogs sit", "man eats", "green tree", "cat sat mat", "bus dog stop"]

TEXT_METRICS = {
    "content_word_overlap": (metrics.content_word_overlap, word_f1),
    "meteor": (
        lambda p, t: metrics.meteor(p, t, wordnet=SimpleNamespace(synsets=lambda _: [])),
        exact_meteor,
    ),
    "rouge1": (
        lambda p, t: metrics.rouge(p, t, kind="rouge1"),
        lambda p, t: f1(shared_words(p, t), p, t),
    ),
    "rougeL": (
        lambda p, t: metrics.rouge(p, t, kind="rougeL"),
        lambda p, t: f1(common_subsequence(p.split(), t.split()), p, t),
    ),
}
"""Name -> the metric of captions, and a reference of one pair."""


@pytest.mark.parametrize("name", TEXT_METRICS)
def test_caption_scores_agree_with_the_reference_in_any_order(name):
    score, reference = TEXT_METRICS[name]
    expected = [reference(p, t) for p, t in zip(PREDS, TARGETS, strict=True)]
    assert len(set(expected)) > 2
    assert score(PREDS, TARGETS).tolist() == pytest.approx(expected, abs=1e-6)
    assert score(PREDS[::-1], TARGETS[::-1]).tolist() == pytest.approx(expected[::-1], abs=1e-6)


SCORED_BY = {
    "(pixcorr|ssim)_.*": r"\1",
    "(two_way_.*|repeat_two_way)": "two_way_identification",
    "known_image(_single)?": "match_ranks",
    "image_two_way": "two_way_hits",
    "brain_correlation_.*": "row_correlation",
    "(image|brain|repeat)_top[15].*": "top_k_hits",
    "(brain_given_image|image_given_brain)_300": "top_k_hits",
    "umap_.*": "umap_distance",
    "(meteor|rouge1|rougeL)_(coco|git|git_coco)": r"\1",
    "(sentence|clip_b|clip_l)_(coco|git|git_coco)": "sentence_similarity",
    "caption": "content_word_overlap",
    "caption_meaning": "sentence_similarity",
    **{
        f"{name}_(unclip|refined|blended|lowlevel|ceiling)": extractor.compared_by
        for name, extractor in FEATURE_EXTRACTORS.items()
    },
}
"""Names in the catalogue -> the metric of the harness that computes them."""


KINDS = (
    "category",
    *(f"{p}_{s}" for p in ("object", "number", "setting", "light") for s in ("kind", "named")),
)
"""Comparisons of words."""


def test_every_metric_of_the_catalogue_is_in_the_harness():
    known = {**METRICS, **TEXT_METRICS}
    for name in CATALOGUE:
        if name in KINDS:  # equal or not, named or not
            continue
        matches = [(re.fullmatch(pattern, name), by) for pattern, by in SCORED_BY.items()]
        found = [match.expand(by) for match, by in matches if match]
        assert len(found) == 1, name
        assert found[0] in known, name


def test_every_public_metric_is_in_the_harness():
    statistics = {"bootstrap_interval", "paired_difference", "proportion_interval"}
    of_captions = {"rouge": "rouge1"}
    batched = {"TwoWayIdentification"}  # what `two_way_identification` is made of
    for name in set(metrics.__all__) - statistics - batched:
        assert of_captions.get(name, name) in {**METRICS, **TEXT_METRICS}, name
