"""Noise on the betas, in the step of shared-subject training."""

import pytest
import torch

from mindeye2.core.runtime import process_rng
from mindeye2.models.decoder import build_mindeye
from mindeye2.models.settings import ModelSettings, PriorSettings
from mindeye2.training.shared import BrainStep, LossSettings

SIZES = ModelSettings(
    n_tokens=4,
    n_features=6,
    n_latent=10,
    dropout=0.0,
    lowlevel=None,
    prior=PriorSettings(n_heads=2, head_width=4),
)


@pytest.fixture
def batch(rng):
    return {
        "betas": {"subj01": torch.randn(5, 7, generator=rng)},
        "tokens": torch.randn(5, 4, 6, generator=rng),
        "latents": torch.zeros(5, 1, 1, 1),
        "mix": None,
    }


def step_with(noise):
    with process_rng(0, "model"):
        model = build_mindeye(SIZES, {"subj01": 7})
    return BrainStep(model, LossSettings(beta_noise=noise, contrastive=0, lowlevel=0))


def loss_of(step, batch, seed=0):
    with process_rng(seed, "step"), torch.no_grad():
        return float(step(**batch)["loss"])


def test_noise_changes_the_loss_from_step_to_step(batch):
    step = step_with(0.5)
    assert loss_of(step, batch, seed=0) == loss_of(step, batch, seed=0)
    assert loss_of(step, batch, seed=0) != loss_of(step, batch, seed=1)


def test_no_noise_is_exact(batch):
    step = step_with(0.0)
    assert loss_of(step, batch, seed=0) == loss_of(step, batch, seed=1)


def test_noise_is_for_training_only(batch):
    assert loss_of(step_with(0.5).eval(), batch) == loss_of(step_with(0.0).eval(), batch)


def test_noise_has_the_standard_deviation_asked_for(batch):
    """Behind a ridge of known weights: Var(Wx) = noise**2 * sum(W**2)."""
    step = step_with(0.7)
    seen = []
    step.model.backbone.trunk.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    for seed in range(400):
        loss_of(step, batch, seed=seed)
    spread = torch.stack(seen).std(dim=0).mean(dim=0)
    weight = step.model.ridge.maps["subj01"].weight.detach()
    torch.testing.assert_close(spread, 0.7 * weight.norm(dim=1), rtol=0.1, atol=0)


def test_the_caller_keeps_its_betas(batch):
    before = batch["betas"]["subj01"].clone()
    loss_of(step_with(0.5), batch)
    assert torch.equal(batch["betas"]["subj01"], before)


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        LossSettings(beta_noise=-0.1)
