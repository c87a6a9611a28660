"""Scores that outlive an interruption, computed by all processes or by the first."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from mindeye2.core.partial_arrays import PartialArrays
from mindeye2.core.runtime import progress
from mindeye2.core.tensors import save_tensors
from mindeye2.stages.evaluate.decoded import Job, Scores
from mindeye2.training.distributed import current_shard, run_on_rank0, wait_for_all

__all__ = ["fill_batches", "is_filled", "score_on_rank0"]


def fill_batches(
    job: Job, name: str, work: Callable[[slice], Mapping[str, Tensor]], *, label: str
) -> dict[str, Tensor]:
    """Compute arrays with a row per image, each process its own batches; return the whole arrays.

    Batches are cut alike whatever the number of processes, so that the arrays are the same to the
    bit. Those that an interrupted run finished are not computed again.
    """
    arrays, shard = _arrays(job, name), current_shard()
    run_on_rank0(lambda: arrays.begin({"batch_size": job.settings.batch_size}))
    missing = arrays.missing(rank=shard.rank, world_size=shard.world_size)
    for rows in progress(missing, label=label):
        arrays.write(rows, {key: x.cpu().numpy() for key, x in work(rows).items()})
    wait_for_all()
    files = sorted(_folder(job, name).glob("*.npy"))
    return {file.stem: torch.from_numpy(np.load(file, mmap_mode="c")) for file in files}


def is_filled(job: Job, name: str) -> bool:
    """Return whether no batch is missing; all processes call it, and get one answer."""
    arrays = _arrays(job, name)
    run_on_rank0(lambda: arrays.begin({"batch_size": job.settings.batch_size}))
    filled = not arrays.missing()
    wait_for_all()  # before one of them writes a batch
    return filled


def score_on_rank0(job: Job, name: str, score: Callable[[], Scores]) -> Scores:
    """Compute a group of scores on rank 0, unless an interrupted run did; the others get none."""
    path = job.state / f"{name}.safetensors"

    def work() -> Scores:
        if path.exists():
            return Scores(load_file(path))
        scores = score()
        others = (scores.missing, scores.chances, scores.intervals, scores.noise_ceilings)
        if scores.values and not any(others):
            save_tensors(scores.values, path)
        return scores

    return run_on_rank0(work) or Scores()


def _arrays(job: Job, name: str) -> PartialArrays:
    n = len(job.decoded.images)
    return PartialArrays(_folder(job, name), n_rows=n, batch_size=job.settings.batch_size)


def _folder(job: Job, name: str) -> Path:
    return job.state / name
