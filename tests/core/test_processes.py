"""Shares of a batch, and what is refused; how processes meet is tested with the train stage."""

import pytest
import torch

from mindeye2.core import processes
from mindeye2.core.processes import (
    WHOLE,
    Share,
    batch_std,
    batch_variance,
    exchange,
    gather_rows,
    join_processes,
    on_main,
    own_share,
)


@pytest.mark.parametrize("sizes", [None, [6, 0, 12]], ids=["one part", "three parts"])
def test_shares_hold_every_row_once(sizes, rng):
    whole = torch.randn(18, 2, generator=rng)
    shares = [Share(index=i, count=3).of(whole, sizes) for i in range(3)]
    assert [len(share) for share in shares] == [6, 6, 6]
    rows = torch.cat(shares)
    torch.testing.assert_close(rows.sort(dim=0).values, whole.sort(dim=0).values)


def test_a_share_is_a_piece_of_each_part():
    whole = torch.arange(6)
    assert Share(index=1, count=2).of(whole, [2, 4]).tolist() == [1, 4, 5]
    assert Share(index=1, count=2).of(whole).tolist() == [3, 4, 5]
    assert WHOLE.of(whole) is whole


@pytest.mark.parametrize(
    ("n_rows", "remedy"),
    [(23, "Add --set prior.batch_size=20, or start another number of processes"), (3, "Start an")],
)
def test_a_batch_with_a_remainder_is_refused(n_rows, remedy):
    message = rf"{n_rows} trials a step cannot be divided equally among 4 processes\. {remedy}"
    with pytest.raises(ValueError, match=message):
        Share(index=0, count=4).check(n_rows, rows="trials", setting="prior.batch_size")
    Share(index=0, count=4).check(24)


def test_a_part_with_a_remainder_is_refused():
    with pytest.raises(ValueError, match=r"3 rows a step cannot be divided equally among 2"):
        Share(index=0, count=2).of(torch.zeros(7), [4, 3])


def test_one_process_is_alone(rng):
    own = torch.randn(5, 3, generator=rng)
    assert own_share() == WHOLE
    assert exchange(1.5, 2) == [(1.5, 2)]
    assert on_main(lambda: "done") == "done"
    assert gather_rows(own, share=WHOLE) is own
    assert torch.equal(batch_variance(own, WHOLE), own.var())
    assert torch.equal(batch_std(own, WHOLE), own.std())


def test_spreads_are_of_the_whole_batch(rng, monkeypatch):
    whole = torch.randn(8, 3, generator=rng) + 100
    half = Share(index=0, count=2)
    sums = iter([whole.double().sum(), (whole.double() - whole.double().mean()).square().sum()])
    monkeypatch.setattr(processes, "_summed", lambda _: next(sums))
    torch.testing.assert_close(batch_std(half.of(whole), half), whole.std())


def test_what_fails_on_the_first_process_fails():
    with pytest.raises(OSError, match="full"):
        on_main(lambda: (_ for _ in ()).throw(OSError("full")))


@pytest.mark.parametrize(
    ("device", "number", "message"),
    [
        ("cuda:1", "0", r"--device cuda:1 names one GPU.*Leave --device out"),
        ("cuda", "1", r"process 1 of this machine has no GPU.*sees 1\. Start one process per GPU"),
    ],
)
def test_processes_without_a_gpu_of_their_own_are_refused(device, number, message, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", number)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=message):
        join_processes(device)
