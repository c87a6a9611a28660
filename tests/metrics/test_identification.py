import pytest
import torch

from mindeye2.metrics.identification import TwoWayIdentification, two_way_identification


def test_ties_count_half():
    twins = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]])
    torch.testing.assert_close(
        two_way_identification(torch.eye(3), twins), torch.tensor([0.75, 0.5, 1.0])
    )


def test_twins_tie_to_the_last_bit(rng):
    """Blocks of a matrix product must not break ties by rounding."""
    targets = torch.randn(150, 3000, generator=rng)
    targets[75:] = targets[:75]
    scores = two_way_identification(targets, targets)
    torch.testing.assert_close(scores, torch.full((150,), 148.5 / 149))


def test_chance_is_one_half(rng):
    preds, targets = torch.randn(2, 400, 30, generator=rng)
    scores = two_way_identification(preds, targets)
    standard_error = scores.std() / len(scores) ** 0.5
    assert abs(scores.mean() - 0.5) < 4 * standard_error


def test_one_prediction_for_all_images_scores_chance(rng):
    targets = torch.randn(9, 30, generator=rng)
    same = torch.randn(1, 30, generator=rng).expand(9, -1)
    assert two_way_identification(same, targets).mean() == pytest.approx(0.5)


def test_constant_predictions_score_chance_one_by_one(rng):
    targets = torch.randn(9, 30, generator=rng)
    assert two_way_identification(torch.full((9, 30), 0.1), targets).tolist() == [0.5] * 9


def test_one_image_is_too_few():
    with pytest.raises(
        ValueError, match=r"at least 2 images, got 1\. Hold out more .*splits\.test"
    ):
        two_way_identification(torch.eye(1), torch.eye(1))


def test_ties_may_count_as_losses():
    """As in the released code; a constant prediction then scores 0 instead of chance."""
    targets = torch.eye(4)
    assert two_way_identification(torch.ones(4, 4), targets, tie=0).tolist() == [0] * 4
    assert two_way_identification(torch.ones(4, 4), targets).tolist() == [0.5] * 4


def test_batches_score_as_all_images_together(rng):
    targets, noise = torch.randn(2, 9, 30, generator=rng)
    preds, identify = targets + 3 * noise, TwoWayIdentification(targets)
    batches = [identify(preds[i : i + 4], first=i) for i in range(0, 9, 4)]
    assert torch.equal(torch.cat(batches), two_way_identification(preds, targets))


def test_features_that_differ_in_the_seventh_digit_are_told_apart(rng):
    """As an untrained network's do; single precision gave chance."""
    targets = 1 + 1e-7 * torch.randn(20, 300, generator=rng, dtype=torch.float64)
    assert two_way_identification(targets, targets).tolist() == [1] * 20
    similar = torch.randn(1, 300, generator=rng) + 3e-4 * torch.randn(20, 300, generator=rng)
    assert two_way_identification(similar, similar).tolist() == [1] * 20
