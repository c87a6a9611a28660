import inspect

import pytest
import sklearn.metrics
import sklearn.metrics.pairwise
import torch

from mindeye2.metrics.ranking import (
    cosine_similarity,
    csls,
    hubness,
    match_ranks,
    top_k_accuracy,
    top_k_hits,
)


@pytest.fixture
def pair(rng):
    gallery = torch.randn(40, 12, generator=rng)
    return gallery[:25] + 2 * torch.randn(25, 12, generator=rng), gallery


def test_cosine_agrees_with_sklearn(pair):
    preds, gallery = pair
    reference = sklearn.metrics.pairwise.cosine_similarity(preds, gallery)
    torch.testing.assert_close(cosine_similarity(preds, gallery), torch.from_numpy(reference))


@pytest.mark.parametrize("k", [1, 5])
def test_top_k_agrees_with_sklearn(pair, k):
    similarity = cosine_similarity(*pair)
    reference = sklearn.metrics.top_k_accuracy_score(
        range(25), similarity, k=k, labels=range(40), normalize=False
    )
    hits = top_k_accuracy(*pair, k=k)
    assert set(hits.tolist()) == {0.0, 1.0}
    assert hits.sum() == reference


def test_negative_cosines_count():
    """A ranking has no zero: an item can be the nearest and still point away."""
    similarity = torch.tensor([[-0.2, -0.5, -0.6]])
    assert top_k_hits(similarity, k=1).tolist() == [1.0]


def test_each_prediction_ranks_the_gallery():
    preds, gallery = torch.tensor([[1.0, 0], [1, 0.1]]), torch.tensor([[1.0, 0.05], [0.2, 1]])
    assert top_k_accuracy(preds, gallery, k=1).tolist() == [1, 0]
    assert top_k_accuracy(gallery, preds, k=1).tolist() == [0, 1]


@pytest.mark.parametrize("k", [1, 3, 10])
def test_predictions_that_are_all_alike_score_chance(k):
    similarity = torch.zeros(6, 10)
    torch.testing.assert_close(top_k_hits(similarity, k=k), torch.full((6,), k / 10))
    assert match_ranks(similarity).tolist() == [5.5] * 6


def test_ranks_agree_with_a_sorted_list(pair):
    similarity = cosine_similarity(*pair)
    order = similarity.argsort(dim=1, descending=True).tolist()
    assert match_ranks(similarity).tolist() == [row.index(i) + 1 for i, row in enumerate(order)]


def test_several_predictions_may_share_an_item(pair):
    preds, gallery = pair
    match = torch.arange(25) // 2
    similarity = cosine_similarity(preds, gallery)
    for i in range(25):
        alone = similarity[i : i + 1].roll(-int(match[i]), dims=1)
        assert match_ranks(similarity, match=match)[i] == match_ranks(alone)[0]


def test_a_smaller_pool_is_the_mean_over_random_galleries(pair, rng):
    """The published protocol samples galleries; the expectation needs no samples."""
    similarity = cosine_similarity(*pair)[:, :25]
    hits = torch.zeros(25)
    for _ in range(2000):
        others = torch.rand(25, 25, generator=rng)
        others.fill_diagonal_(-1)
        chosen = others.argsort(dim=1)[:, :10]
        near = similarity.gather(1, chosen)
        hits += (near[:, 1:] > near[:, :1]).sum(dim=1) < 3
    exact = top_k_hits(similarity, k=3, pool=10)
    assert (exact - hits / 2000).abs().max() < 4 * 0.5 / 2000**0.5


def test_a_pool_with_ties_keeps_chance():
    torch.testing.assert_close(top_k_hits(torch.zeros(4, 20), k=2, pool=5), torch.full((4,), 0.4))


def test_hubness_agrees_with_a_loop(pair):
    preds, gallery = pair
    near = sklearn.metrics.pairwise.cosine_similarity(gallery, preds)
    reference = [sum(sorted(row)[-3:]) / 3 for row in near.tolist()]
    assert hubness(gallery, preds, neighbours=3).tolist() == pytest.approx(reference, abs=1e-6)


def test_a_bank_smaller_than_the_neighbours_is_averaged_whole(pair):
    preds, gallery = pair
    torch.testing.assert_close(
        hubness(gallery, preds[:4], neighbours=10), cosine_similarity(gallery, preds[:4]).mean(1)
    )


def test_csls_moves_a_prediction_away_from_a_hub():
    similarity = torch.tensor([[0.8, 0.7], [0.8, 0.1]])
    scores = csls(similarity, torch.zeros(2), torch.tensor([0.8, 0.4]))
    assert scores.argmax(dim=1).tolist() == [1, 0]


def test_the_hub_score_of_predictions_orders_predictions_only():
    similarity = torch.tensor([[0.5, 0.2], [0.6, 0.1]])
    plain = csls(similarity, torch.zeros(2), torch.zeros(2))
    moved = csls(similarity, torch.tensor([0.0, 0.5]), torch.zeros(2))
    assert (moved.argsort(dim=1) == plain.argsort(dim=1)).all()
    assert moved[:, 0].argmax() != plain[:, 0].argmax()


def test_bad_input_is_named():
    similarity = torch.zeros(3, 4)
    with pytest.raises(ValueError, match="k=5 of 4 with 4 items"):
        top_k_hits(similarity, k=5)
    with pytest.raises(ValueError, match="k=1 of 9 with 4 items"):
        top_k_hits(similarity, k=1, pool=9)
    with pytest.raises(ValueError, match="3 predictions with matches up to 4"):
        match_ranks(similarity, match=torch.tensor([0, 1, 4]))
    with pytest.raises(ValueError, match="similarity holds NaN"):
        match_ranks(similarity / 0)
    with pytest.raises(ValueError, match=r"same width, got 2 and 3.*one encoder"):
        # Unwrapped: in tests, the checker of shapes would raise first.
        inspect.unwrap(cosine_similarity)(torch.ones(2, 2), torch.ones(2, 3))
    with pytest.raises(ValueError, match="got 0 neighbours of 2"):
        hubness(torch.ones(2, 2), torch.ones(2, 2), neighbours=0)
