"""Shards of a batch, and what is refused; several processes are tested with the train stage."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

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
    [(23, "Add --set prior.batch_size=20, or start a number of processes"), (3, "Start a number")],
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


def test_while_the_others_wait_the_first_process_computes_everything(monkeypatch):
    """With a stand-in for the process group: a collective call of one of two would never end."""
    barriers = []
    stand_ins = {
        "is_initialized": lambda: True, "get_rank": lambda: 0, "get_world_size": lambda: 2,
        "barrier": lambda **group: barriers.append(group),
    }  # fmt: skip
    for name, function in stand_ins.items():
        monkeypatch.setattr(f"torch.distributed.{name}", function)
    monkeypatch.setattr("mindeye2.training.distributed._waiting_group", lambda _: "all")
    assert run_on_rank0(lambda: run_on_rank0(current_shard)) == Shard()
    assert barriers == [{"group": "all"}]
    with pytest.raises(ZeroDivisionError):
        run_on_rank0(lambda: 1 / 0)
    assert current_shard() == Shard(rank=0, world_size=2)


@pytest.mark.parametrize(
    ("device", "local_rank", "message"),
    [
        ("cuda:1", "0", r"--device cuda:1 names one GPU.*Leave --device out"),
        ("cuda", "0", r"8 processes .* on this machine, but PyTorch finds 4 GPUs.*Start 4 \("),
        ("cuda", "7", r"8 processes were started.*--nproc-per-node 4\), make .*--device cpu"),
    ],
)
def test_processes_without_a_gpu_of_their_own_are_refused(
    device, local_rank, message, monkeypatch
):
    """Each of them, before it waits for the others."""
    for name, value in (
        ("WORLD_SIZE", "16"),
        ("LOCAL_WORLD_SIZE", "8"),
        ("LOCAL_RANK", local_rank),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(ValueError, match=message):
        init_processes(device)


PLAIN, FSDP = {"changes": {}}, {"changes": {"sharding": "fsdp"}}


def lines_of(run):
    lines = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def same_training(left, right, *, rel=2e-5):
    """Compare losses, norms, validations of averages, and weights: equal but for rounding."""
    for a, b in zip(lines_of(left), lines_of(right), strict=True):
        assert b == pytest.approx(a, rel=rel)
    weights = load_file(left / "weights.safetensors"), load_file(right / "weights.safetensors")
    assert {*weights[0]} == {*weights[1]}
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=5e-5)


@pytest.fixture(scope="module")
def alone(launch, tmp_path_factory):
    """Return the folder of a training in one process, and of one that was stopped."""
    home = tmp_path_factory.mktemp("alone")
    half = {"changes": {"precision": "bfloat16"}}
    launch(home, 1, {"plain": PLAIN, "half": half, "stopped": {**PLAIN, "stop_after": 2}})
    assert len(lines_of(home / "stopped")) == 2
    return home


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [2, 3])
def test_every_division_of_the_work_is_the_training_of_one_process(
    launch, alone, tmp_path, world_size
):
    """DDP and FSDP, with and without micro-batches and recomputed blocks; FSDP in bfloat16."""
    runs = {}
    for sharding in ("none", "fsdp"):
        runs[f"{sharding}-1"] = {"changes": {"sharding": sharding}}
        more = {"accumulate": 2, "checkpointing": True}
        runs[f"{sharding}-2"] = {"changes": {"sharding": sharding, **more}}
    half = {"changes": {"sharding": "fsdp", "precision": "bfloat16"}}
    launch(tmp_path, world_size, {**runs, "half": half})
    for run in runs:
        same_training(alone / "plain", tmp_path / run)
        written = [p.stat().st_size for p in (tmp_path / run).glob("state/*/*.distcp")]
        # Each rank writes its part, also where each has the whole model.
        assert len(written) == world_size
        assert max(written) < 2 * min(written)
    # Gradients are rounded to 8 bits, of the rows of each rank.
    same_training(alone / "half", tmp_path / "half", rel=5e-3)


@pytest.mark.slow
def test_a_state_is_read_by_other_numbers_of_processes_and_shardings(launch, alone, tmp_path):
    """1 to 3 sharded, to 2 not sharded, to 1; two steps each."""
    shutil.copytree(alone / "stopped", tmp_path / "run")
    launch(tmp_path, 3, {"run": {**FSDP, "stop_after": 1}})
    assert len(lines_of(tmp_path / "run")) == 3
    launch(tmp_path, 2, {"run": PLAIN})
    same_training(alone / "plain", tmp_path / "run")
    shutil.copytree(alone / "stopped", tmp_path / "other")
    launch(tmp_path, 2, {"other": {**FSDP, "stop_after": 1}})
    launch(tmp_path, 1, {"other": PLAIN})
    same_training(alone / "plain", tmp_path / "other")
