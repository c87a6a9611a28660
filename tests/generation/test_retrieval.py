import pytest
import torch
import torch.nn.functional as F

from mindeye2.generation.retrieval import (
    Calibration,
    check_gallery,
    fit_calibration,
    retrieve,
    similarity,
)


@pytest.fixture
def world(rng):
    """Predictions that are shrunken towards a mean, as a ridge's are."""
    mean = 2 * torch.randn(1, 30, generator=rng)
    true = mean + torch.randn(600, 30, generator=rng)
    # Half of the dimensions cannot be predicted; items that are strong in the others are hubs.
    gain = 0.3 * (torch.arange(30) < 15)
    predicted = mean + gain * (true - mean) + 0.1 * torch.randn(600, 30, generator=rng)
    return predicted.reshape(-1, 6, 5), true.reshape(-1, 6, 5)


def top_1(query, gallery, calibration=None):
    found = retrieve(query, gallery, 1, calibration=calibration).indices[:, 0]
    return float((found == torch.arange(len(query))).double().mean())


def test_without_calibration_it_is_plain_cosine(world):
    predicted, true = (x[:5].flatten(1) for x in world)
    expected = F.cosine_similarity(predicted[:, None], true[None], dim=2)
    torch.testing.assert_close(similarity(*(x[:5] for x in world)), expected)


def test_calibration_follows_its_formula(world):
    predicted, true = (x.flatten(1) for x in world)
    calibration = fit_calibration(predicted[:50], true[:40], neighbours=4)
    query = predicted[50:60] - predicted[:50].mean(0)
    gallery = true[50:70] - true[:40].mean(0)
    for q, g in ((0, 0), (3, 17), (9, 9)):
        to_targets = F.cosine_similarity(query[q], true[:40] - true[:40].mean(0))
        to_predictions = F.cosine_similarity(gallery[g], predicted[:50] - predicted[:50].mean(0))
        expected = (
            2 * F.cosine_similarity(query[q], gallery[g], dim=0)
            - to_targets.sort().values[-4:].mean()
            - to_predictions.sort().values[-4:].mean()
        )
        found = similarity(predicted[50:60], true[50:70], calibration)[q, g]
        torch.testing.assert_close(found, expected)


def test_each_correction_helps_where_predictions_are_shrunken(world):
    predicted, true = world
    centred = fit_calibration(predicted[:400], true[:400], neighbours=0)
    full = fit_calibration(predicted[:400], true[:400])
    held_out = predicted[400:], true[400:]
    raw, middle, best = (top_1(*held_out, c) for c in (None, centred, full))
    assert raw + 0.5 < middle
    assert middle < best


def test_a_score_does_not_depend_on_the_rest_of_the_test_pool(world):
    """What makes it inductive."""
    predicted, true = world
    calibration = fit_calibration(predicted[:200], true[:200])
    together = similarity(predicted[200:], true[200:], calibration)
    alone = similarity(predicted[207:208], true[230:231], calibration)
    torch.testing.assert_close(together[7, 30], alone[0, 0])


def test_flattened_tokens_score_the_same(world):
    predicted, true = world
    flat = [x.flatten(1) for x in world]
    torch.testing.assert_close(
        similarity(predicted[200:], true[200:], fit_calibration(predicted[:200], true[:200])),
        similarity(flat[0][200:], flat[1][200:], fit_calibration(flat[0][:200], flat[1][:200])),
    )


def test_retrieval_is_sorted_best_first(world):
    predicted, true = world
    found = retrieve(predicted[:4], true[:30], k=6)
    scores = similarity(predicted[:4], true[:30])
    assert found.indices.shape == (4, 6)
    torch.testing.assert_close(found.scores, scores.sort(descending=True).values[:, :6])
    torch.testing.assert_close(scores.gather(1, found.indices), found.scores)


def test_a_bank_is_spread_over_the_rows_and_means_take_all(world):
    predicted, true = world
    calibration = fit_calibration(predicted, true, bank_size=3)
    torch.testing.assert_close(calibration.prediction_mean, predicted.flatten(1).mean(0))
    rows = predicted[[0, 300, 599]].flatten(1) - calibration.prediction_mean
    torch.testing.assert_close(calibration.predictions, F.normalize(rows, dim=1))


def test_a_stored_calibration_scores_the_same(world):
    predicted, true = world
    calibration = fit_calibration(predicted[:200], true[:200], neighbours=7)
    again = Calibration.from_state(calibration.state())
    assert again.neighbours == 7
    torch.testing.assert_close(
        similarity(predicted[200:], true[200:], again),
        similarity(predicted[200:], true[200:], calibration),
        rtol=0,
        atol=0,
    )


def test_training_images_in_the_gallery_are_refused():
    check_gallery([4, 5, 6], [1, 2, 3])
    with pytest.raises(ValueError, match=r"2 of the 3 images.*\(4, 6\).*held-out images only"):
        check_gallery(torch.tensor([6, 5, 4]), [1, 4, 6])


def test_what_does_not_fit_is_named(world):
    predicted, true = (x[:20] for x in world)
    calibration = fit_calibration(predicted, true)
    with pytest.raises(
        ValueError, match="query and gallery must have the same width, got 30 and 25"
    ):
        similarity(predicted, true[:, 1:])
    with pytest.raises(ValueError, match="query and calibration must have the same width, got 25"):
        similarity(predicted[:, 1:], true[:, 1:], calibration)
    with pytest.raises(ValueError, match=r"size of the gallery \(20\), got 21"):
        retrieve(predicted, true, 21)
    with pytest.raises(ValueError, match="got 0 and 20 rows"):
        fit_calibration(predicted[:0], true)
    with pytest.raises(ValueError, match="got -1 and 2000"):
        fit_calibration(predicted, true, neighbours=-1)
    with pytest.raises(ValueError, match="targets hold NaN"):
        fit_calibration(predicted, true.where(true != true.max(), torch.nan))
