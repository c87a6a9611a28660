import numpy as np
import pytest
import torch

from mindeye2.metrics.identification import two_way_identification


def as_released(pred, target):
    """Score (reconstruction, distractor) pairs one by one, as the published notebook does."""
    n = len(pred)
    r = np.corrcoef(target, pred)[:n, n:]
    return [sum(r[i, j] < r[j, j] for i in range(n) if i != j) / (n - 1) for j in range(n)]


def test_agrees_with_the_released_definition(rng):
    target = torch.randn(12, 30, generator=rng)
    pred = target + 2 * torch.randn(12, 30, generator=rng)
    scores = two_way_identification(pred, target)
    assert 0.5 < scores.mean() < 1
    assert scores.tolist() == pytest.approx(as_released(pred, target))


def test_ties_count_half():
    twins = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]])
    torch.testing.assert_close(
        two_way_identification(torch.eye(3), twins), torch.tensor([0.75, 0.5, 1.0])
    )


def test_twins_tie_to_the_last_bit(rng):
    """Blocks of a matrix product must not break ties by rounding."""
    target = torch.randn(150, 3000, generator=rng)
    target[75:] = target[:75]
    scores = two_way_identification(target, target)
    torch.testing.assert_close(scores, torch.full((150,), 148.5 / 149))


def test_chance_is_one_half(rng):
    pred, target = torch.randn(2, 400, 30, generator=rng)
    scores = two_way_identification(pred, target)
    standard_error = scores.std() / len(scores) ** 0.5
    assert abs(scores.mean() - 0.5) < 4 * standard_error


def test_one_prediction_for_all_images_scores_chance(rng):
    target = torch.randn(9, 30, generator=rng)
    same = torch.randn(1, 30, generator=rng).expand(9, -1)
    assert two_way_identification(same, target).mean() == pytest.approx(0.5)


def test_constant_predictions_score_chance_one_by_one(rng):
    target = torch.randn(9, 30, generator=rng)
    assert two_way_identification(torch.full((9, 30), 0.1), target).tolist() == [0.5] * 9


def test_the_order_of_images_does_not_matter(rng):
    pred, target = torch.randn(2, 10, 30, generator=rng)
    order = torch.randperm(10, generator=rng)
    torch.testing.assert_close(
        two_way_identification(pred[order], target[order]),
        two_way_identification(pred, target)[order],
    )


def test_one_image_is_too_few():
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        two_way_identification(torch.eye(1), torch.eye(1))
