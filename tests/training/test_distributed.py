"""Shards of a batch, and what is refused; several processes are tested with the train stage."""

import pytest
import torch

from mindeye2.training.distributed import (
    Shard,
    batch_std,
    current_shard,
    gather_rows,
    init_processes,
    mean_over_ranks,
    run_on_rank0,
)


def test_shards_hold_every_row_once_in_order(rng):
    whole = torch.randn(18, 2, generator=rng)
    shards = [Shard(rank=i, world_size=3).of(whole) for i in range(3)]
    assert [len(shard) for shard in shards] == [6, 6, 6]
    assert torch.equal(torch.cat(shards), whole)


@pytest.mark.parametrize(
    ("n_rows", "hint"),
    [(23, "Add --set prior.batch_size=20, or start another number of processes"), (3, "Start an")],
)
def test_a_batch_with_a_remainder_is_refused(n_rows, hint):
    message = rf"{n_rows} trials a step cannot be divided equally among 4 processes\. {hint}"
    with pytest.raises(ValueError, match=message):
        Shard(rank=0, world_size=4).check(n_rows, rows="trials", setting="prior.batch_size")
    Shard(rank=0, world_size=4).check(24)


def test_a_single_process_computes_everything(rng):
    rows = torch.randn(5, 3, generator=rng)
    assert current_shard() == Shard()
    assert run_on_rank0(lambda: "done") == "done"
    assert gather_rows(rows) is rows
    assert mean_over_ranks(rows) is rows
    torch.testing.assert_close(batch_std(rows + 100), (rows + 100).double().std().float())


@pytest.mark.parametrize(
    ("device", "local_rank", "message"),
    [
        ("cuda:1", "0", r"--device cuda:1 names one GPU.*Leave --device out"),
        (
            "cuda",
            "1",
            r"process 1 of this machine has no GPU.*finds 1\. Start one process per GPU",
        ),
    ],
)
def test_processes_without_a_gpu_of_their_own_are_refused(
    device, local_rank, message, monkeypatch
):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", local_rank)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=message):
        init_processes(device)
