"""Batches of two subjects, and a small model of them."""

import pytest
import torch

from mindeye2.core.runtime import process_rng
from mindeye2.models.decoder import build_mindeye
from mindeye2.models.model_settings import LowLevelSettings, ModelSettings, PriorSettings
from mindeye2.training.batch_sampler import BatchSampler, TrainingTargets
from mindeye2.training.brain_step import LossSettings
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
