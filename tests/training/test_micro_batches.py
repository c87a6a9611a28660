"""Rows of a batch; gradients of micro-batches are tested with the trainer."""

import pytest
import torch

from mindeye2.training.micro_batches import count_rows, name_extremes, split_rows, take_rows


def test_rows_are_those_of_the_first_entry_of_all_subjects():
    assert count_rows({"betas": {"a": torch.ones(3, 2), "b": torch.ones(4, 5)}}) == 7
    assert count_rows({"images": torch.ones(6, 3), "crop": (1.0, 2.0)}) == 6


def test_rows_are_taken_from_nested_tensors_only():
    rows = torch.tensor([2, 0])
    value = {"noise": torch.arange(3), "level": torch.tensor(7)}
    taken = take_rows(value, rows)
    assert taken["noise"].tolist() == [2, 0]
    assert taken["level"] == 7
    assert take_rows((0.5, 2), rows) == (0.5, 2)


def test_micro_batches_hold_every_row_once():
    assert [rows.tolist() for rows in split_rows(6, 3)] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ValueError, match=r"7 rows of each process cannot .* a divisor of 7"):
        split_rows(7, 3)


def test_extremes_are_named_by_entry_and_trial():
    batch = {
        "betas": {"subj01": torch.zeros(7, 2), "subj02": torch.zeros(3, 2)},
        "tokens": torch.ones(10, 2, 2),
        "times": torch.full((10,), 10**6),
        "temperature": 0.1,
    }
    trials = {"subj01": torch.arange(20, 27), "subj02": torch.arange(3)}
    assert not name_extremes(batch, trials)
    batch["betas"]["subj01"][1:] = -torch.inf
    batch["tokens"][4, 1, 1] = torch.nan
    assert name_extremes(batch, trials) == (
        "betas of subj01 reach inf in trials 21, 22, 23, 24, 25, ...; tokens reach nan in rows 4"
    )
