import pytest
import torch

from mindeye2.metrics.checks import check_finite, check_pair, check_varying


def test_half_precision_is_raised_to_single():
    assert check_finite(torch.ones(2, 3, dtype=torch.float16), "preds").dtype == torch.float32


def test_rows_with_nan_or_infinity_are_named():
    x = torch.zeros(4, 2, 3)
    x[1, 0, 2], x[3, 1, 0] = float("nan"), float("inf")
    with pytest.raises(ValueError, match=r"rows \[1, 3\] of preds hold NaN or infinite"):
        check_finite(x, "preds")


def test_many_rows_are_named_briefly():
    with pytest.raises(ValueError, match=r"rows \[0, 1, 2, 3, 4, 5, 6, 7, \.\.\.\] of targets"):
        check_finite(torch.full((9, 1), torch.nan), "targets")


def test_a_pair_takes_the_wider_precision():
    preds, targets = check_pair(torch.ones(2, 3), torch.ones(2, 3, dtype=torch.float64))
    assert preds.dtype == targets.dtype == torch.float64


def test_a_pair_of_two_shapes_is_refused_with_both():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\)\. Row i"):
        check_pair(torch.ones(2, 3), torch.ones(2, 4))


def test_constant_rows_are_named_although_their_mean_is_rounded():
    x = torch.arange(12.0).reshape(3, 4)
    x[1] = 0.1
    with pytest.raises(ValueError, match=r"rows \[1\] of targets are constant.*Leave"):
        check_varying(x, "targets")
