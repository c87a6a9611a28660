import pytest
import torch
import torch.nn.functional as F

from mindeye2.metrics.retrieval import (
    check_gallery,
    fit_calibration,
    similarity,
)


@pytest.fixture
def world(rng):
    """Return predictions shrunken towards a mean, as a ridge's are, and targets."""
    mean = 2 * torch.randn(1, 30, generator=rng)
    targets = mean + torch.randn(600, 30, generator=rng)
    # Half of the dimensions cannot be preds; items that are strong in the others are hubs.
    gain = 0.3 * (torch.arange(30) < 15)
    preds = mean + gain * (targets - mean) + 0.1 * torch.randn(600, 30, generator=rng)
    return preds.reshape(-1, 6, 5), targets.reshape(-1, 6, 5)


def top_1(preds, gallery, calibration=None):
    found = similarity(preds, gallery, calibration).argmax(dim=1)
    return float((found == torch.arange(len(preds))).double().mean())


def test_without_calibration_it_is_plain_cosine(world):
    preds, targets = (x[:5].flatten(1) for x in world)
    expected = F.cosine_similarity(preds[:, None], targets[None], dim=2)
    torch.testing.assert_close(similarity(*(x[:5] for x in world)), expected)


def test_calibration_follows_its_formula(world):
    preds, targets = (x.flatten(1) for x in world)
    calibration = fit_calibration(preds[:50], targets[:40], neighbours=4)
    query = preds[50:60] - preds[:50].mean(0)
    gallery = targets[50:70] - targets[:40].mean(0)
    for q, g in ((0, 0), (3, 17), (9, 9)):
        to_targets = F.cosine_similarity(query[q], targets[:40] - targets[:40].mean(0))
        to_predictions = F.cosine_similarity(gallery[g], preds[:50] - preds[:50].mean(0))
        expected = (
            2 * F.cosine_similarity(query[q], gallery[g], dim=0)
            - to_targets.sort().values[-4:].mean()
            - to_predictions.sort().values[-4:].mean()
        )
        found = similarity(preds[50:60], targets[50:70], calibration)[q, g]
        torch.testing.assert_close(found, expected)


def test_each_correction_helps_where_predictions_are_shrunken(world):
    preds, targets = world
    centred = fit_calibration(preds[:400], targets[:400], neighbours=0)
    full = fit_calibration(preds[:400], targets[:400])
    held_out = preds[400:], targets[400:]
    raw, middle, best = (top_1(*held_out, c) for c in (None, centred, full))
    assert raw + 0.5 < middle
    assert middle < best


def test_a_score_does_not_depend_on_the_rest_of_the_test_pool(world):
    """Retrieval is inductive."""
    preds, targets = world
    calibration = fit_calibration(preds[:200], targets[:200])
    together = similarity(preds[200:], targets[200:], calibration)
    alone = similarity(preds[207:208], targets[230:231], calibration)
    torch.testing.assert_close(together[7, 30], alone[0, 0])


def test_flattened_tokens_score_the_same(world):
    preds, targets = world
    flat = [x.flatten(1) for x in world]
    torch.testing.assert_close(
        similarity(preds[200:], targets[200:], fit_calibration(preds[:200], targets[:200])),
        similarity(flat[0][200:], flat[1][200:], fit_calibration(flat[0][:200], flat[1][:200])),
    )


def test_a_bank_is_spread_over_the_rows_and_means_take_all(world):
    preds, targets = world
    calibration = fit_calibration(preds, targets, bank_size=3)
    torch.testing.assert_close(calibration.preds_mean, preds.flatten(1).mean(0))
    rows = preds[[0, 300, 599]].flatten(1) - calibration.preds_mean
    torch.testing.assert_close(calibration.preds, F.normalize(rows, dim=1))


def test_training_images_in_the_gallery_are_refused():
    check_gallery([4, 5, 6], [1, 2, 3])
    with pytest.raises(ValueError, match=r"2 of the 3 images.*\(4, 6\).*held-out images only"):
        check_gallery(torch.tensor([6, 5, 4]), [1, 4, 6])


def test_what_does_not_fit_is_named(world):
    preds, targets = (x[:20] for x in world)
    calibration = fit_calibration(preds, targets)
    with pytest.raises(
        ValueError, match="preds and gallery must have the same width, got 30 and 25"
    ):
        similarity(preds, targets[:, 1:])
    with pytest.raises(ValueError, match="preds and calibration must have the same width, got 25"):
        similarity(preds[:, 1:], targets[:, 1:], calibration)
    with pytest.raises(ValueError, match="got 0 and 20 rows"):
        fit_calibration(preds[:0], targets)
    with pytest.raises(ValueError, match="got -1 and 2000"):
        fit_calibration(preds, targets, neighbours=-1)
    with pytest.raises(ValueError, match="targets hold NaN"):
        fit_calibration(preds, targets.where(targets != targets.max(), torch.nan))
