"""Search in blocks, against a search of the whole gallery at once."""

import numpy as np
import pytest
import torch

from mindeye2.metrics import match_ranks, top_k_hits
from mindeye2.metrics.gallery_search import search_gallery
from mindeye2.metrics.ranking import expected_hits
from mindeye2.metrics.retrieval import Queries, fit_calibration, similarity


@pytest.fixture
def world(rng):
    """Return predictions of 20 images, their tokens, and 100 distractors, with a calibration."""
    tokens = torch.randn(200, 4, 6, generator=rng) + 1
    preds = 0.4 * tokens + 0.5 * torch.randn(200, 4, 6, generator=rng)
    calibration = fit_calibration(preds[120:], tokens[120:], neighbours=5)
    return preds[:20], tokens[:20], tokens[20:120], calibration


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("calibrated", [True, False])
def test_blocks_of_any_size_give_the_result_of_the_whole_gallery(world, size, calibrated):
    preds, own, others, calibration = world
    calibration = calibration if calibrated else None
    whole = similarity(preds, torch.cat([own, others]), calibration)
    queries = Queries(preds, calibration)
    true = queries.score(own).diagonal()
    blocks = torch.cat([own, others]).split(size)
    found = search_gallery(queries, blocks, k=5)
    want = whole.topk(5, dim=1)
    assert torch.equal(found.indices, want.indices)
    torch.testing.assert_close(found.scores, want.values)
    distractors = search_gallery(queries, others.split(size), true=true)
    ranks = match_ranks(torch.cat([true[:, None], similarity(preds, others, calibration)], dim=1),
                        match=torch.zeros(20, dtype=torch.int64))  # fmt: skip
    assert torch.equal(1 + distractors.better + distractors.ties / 2, ranks)
    assert distractors.n_gallery == 100


def test_hits_follow_from_counts_for_any_pool(world):
    preds, own, others, calibration = world
    whole = similarity(preds, torch.cat([own, others]), calibration)
    true = whole[:, :20].diagonal()
    better = (whole > true[:, None]).sum(dim=1)
    ties = (whole == true[:, None]).sum(dim=1) - 1
    for k, pool in ((1, 120), (5, 120), (1, 30), (3, 30)):
        found = expected_hits(better, ties, k=k, pool=pool, n_gallery=120)
        torch.testing.assert_close(found, top_k_hits(whole, k=k, pool=pool))
    rng = np.random.default_rng(0)
    row = whole[0].numpy()
    others_of_0 = np.delete(np.arange(120), 0)
    samples = [row[rng.choice(others_of_0, 29, replace=False)] for _ in range(4000)]
    hits = np.mean([(sample > row[0]).sum() < 3 for sample in samples])
    assert float(found[0]) == pytest.approx(hits, abs=0.04)


def test_a_memory_map_is_read_block_by_block(world, tmp_path):
    preds, _, others, calibration = world
    np.save(tmp_path / "gallery.npy", others.half().numpy())
    stored = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    read = []

    def blocks():
        for start in range(0, 100, 8):
            read.append(start)
            yield torch.from_numpy(np.array(stored[start : start + 8], np.float32))

    found = search_gallery(Queries(preds, calibration), blocks(), k=3)
    assert len(read) == 13
    assert found.indices.max() < 100


def test_more_than_the_gallery_are_refused(world):
    preds, own, *_ = world
    with pytest.raises(ValueError, match="at most the gallery's 20 images, got 21"):
        search_gallery(Queries(preds), own.split(7), k=21)
    with pytest.raises(ValueError, match="got k=2, a pool of 1 and a gallery of 5"):
        expected_hits(torch.zeros(1).long(), torch.zeros(1).long(), k=2, pool=1, n_gallery=5)
