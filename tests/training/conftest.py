"""Batches of two subjects, and a small model of them."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from mindeye2.core.runtime import process_rng
from mindeye2.models.decoder import build_mindeye
from mindeye2.models.model_settings import LowLevelSettings, ModelSettings, PriorSettings
from mindeye2.training.batch_sampler import BatchSampler, TrainingTargets
from mindeye2.training.brain_step import BrainStep, LossSettings
from mindeye2.training.distributed import Shard
from mindeye2.training.trials import BetaRows, SubjectTrials, TargetBank

SIZES = ModelSettings(
    n_tokens=4,
    n_features=6,
    n_latent=10,
    dropout=0.0,
    lowlevel=None,
    prior=PriorSettings(n_heads=2, head_width=4),
)


LOSSES = {"tokens": 1.0, "prior": 3.0, "contrastive": 0.5, "lowlevel": 0.2, "maps": 0.1}


def make_step(*, dropout=0.0, lowlevel=True):
    """Return the losses of a model of all heads, none of which starts at zero."""
    head = LowLevelSettings(channels=2, size=2, coarse_channels=32, n_maps=5, dropout=dropout)
    sizes = ModelSettings(
        n_tokens=4,
        n_features=6,
        n_latent=10,
        n_blocks=2,
        dropout=dropout,
        lowlevel=head if lowlevel else None,
        prior=PriorSettings(n_heads=2, head_width=4),
    )
    with process_rng(0, "model"):
        model = build_mindeye(sizes, {"subj01": 7, "subj02": 5})
        for p in model.parameters():
            if not p.any():
                nn.init.normal_(p, std=0.1)
    return BrainStep(model, LossSettings(**LOSSES)).train()


@pytest.fixture
def build_step():
    """Return the function that makes losses and model."""
    return make_step


@pytest.fixture
def data(rng):
    """Return trials of two subjects, of 7 and 5 voxels, and the targets of 12 images."""
    trials = {
        subject: SubjectTrials(
            betas=BetaRows(torch.randn(20, n_voxels, generator=rng).numpy()),
            images=torch.randint(12, (20,), generator=rng),
            sessions=torch.ones(20, dtype=torch.long),
        )
        for subject, n_voxels in (("subj01", 7), ("subj02", 5))
    }
    tokens = TargetBank(torch.randn(12, 4, 6, generator=rng).numpy())
    latents = TargetBank(torch.randn(12, 2, 3, 3, generator=rng).numpy())
    return trials, TrainingTargets(tokens=tokens, latents=latents)


@pytest.fixture
def full():
    """Return a model with a low-level head."""
    sizes = SIZES.model_copy(update={"lowlevel": LowLevelSettings(channels=2, size=3)})
    with process_rng(0, "model"):
        return build_mindeye(sizes, {"subj01": 7, "subj02": 5})


@pytest.fixture
def sample(data, full):
    """Sample a batch of the two subjects."""

    def _sample(step=0, *, mixing=False, seed=0, shard=Shard(), trials=False, **losses):  # noqa: B008
        sampler = BatchSampler(
            trials=data[0],
            targets=data[1],
            losses=LossSettings(**losses),
            prior=full.prior,
            per_subject=8,
            seed=seed,
            device=torch.device("cpu"),
            shard=shard,
        )
        batch = sampler(step, mixing=mixing, temperature=0.1)
        return batch if trials else {k: v for k, v in batch.items() if k != "trials"}

    return _sample


@pytest.fixture(scope="session")
def launch():
    """Return a function that trains in several processes what `several_ranks.py` is given."""

    def _launch(home, world_size, runs):
        home.mkdir(exist_ok=True)
        (home / "runs.json").write_text(json.dumps(runs))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        script = Path(__file__).with_name("several_ranks.py")
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        processes = []
        for rank in map(str, range(world_size)):
            numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": str(world_size)}
            environment = {**os.environ, **common, **numbers, "LOCAL_WORLD_SIZE": str(world_size)}
            with (home / f"errors-{rank}").open("w") as errors:
                command = [sys.executable, str(script), str(home)]
                processes.append(subprocess.Popen(command, env=environment, stderr=errors))
        deadline = time.monotonic() + 240
        # One that fails leaves the others waiting for it.
        while {p.poll() for p in processes} <= {None, 0} and time.monotonic() < deadline:
            if all(p.poll() == 0 for p in processes):
                break
            time.sleep(0.05)
        for process in processes:
            process.kill()
        codes = [process.wait() for process in processes]
        texts = [(home / f"errors-{i}").read_text()[-3000:] for i in range(world_size)]
        assert not any(codes), texts

    return _launch
