import pytest
import torch

from mindeye2.metrics.identification import two_way_identification


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
