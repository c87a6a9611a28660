import pytest
import torch

from mindeye2.training.batches import epoch_rows


def rows(step, *, n_rows=10, batch_size=4, seed=0, stream="subj01"):
    return epoch_rows(n_rows, batch_size, step, seed=seed, stream=stream)


@pytest.mark.parametrize("batch_size", [1, 4, 10, 25])
def test_every_row_comes_once_an_epoch(batch_size):
    n_steps = 10 * batch_size // torch.gcd(torch.tensor(10), torch.tensor(batch_size)).item()
    drawn = torch.cat([rows(s, batch_size=batch_size) for s in range(n_steps // batch_size)])
    for epoch in drawn.split(10):
        assert sorted(epoch.tolist()) == list(range(10))


def test_a_step_is_the_same_whatever_ran_before():
    last = [rows(s) for s in range(7)][-1]
    assert torch.equal(rows(6), last)
    assert len(last) == 4


@pytest.mark.parametrize("other", [{"seed": 1}, {"stream": "subj02"}], ids=["seed", "stream"])
def test_other_seeds_and_streams_are_shuffled_otherwise(other):
    first, second = (torch.cat([rows(s, **k) for s in range(5)]) for k in ({}, other))
    assert not torch.equal(first, second)


def test_each_epoch_has_an_order_of_its_own():
    first, second = (rows(s, batch_size=10) for s in (0, 1))
    assert not torch.equal(first, second)
