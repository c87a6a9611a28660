"""The training step of the brain decoder."""

import pytest
import torch

from mindeye2.training.brain_step import (
    BrainStep,
    LossSettings,
    PriorStep,
    contrastive_phase,
)


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        LossSettings(beta_noise=-0.1)


def test_the_loss_is_the_weighted_sum_of_its_terms(full, sample):
    weights = {"tokens": 2.0, "contrastive": 0.5, "lowlevel": 0.1, "prior": 3.0}
    terms = BrainStep(full, LossSettings(**weights)).eval()(**sample(**weights))
    expected = sum(weight * terms[name] for name, weight in weights.items())
    torch.testing.assert_close(terms["loss"].detach(), expected)


@pytest.mark.parametrize("name", ["tokens", "contrastive", "lowlevel", "prior"])
def test_each_term_alone_reaches_the_ridges(full, sample, name):
    """The prior too: its gradient goes through the backbone into the ridges."""
    weights = dict.fromkeys(("tokens", "contrastive", "lowlevel", "prior"), 0.0) | {name: 1.0}
    torch.nn.init.normal_(full.prior.network.output.weight)
    BrainStep(full, LossSettings(**weights)).eval()(**sample(**weights))["loss"].backward()
    assert all(r.weight.grad.abs().sum() > 0 for r in full.ridge.maps.values())


def test_without_its_loss_the_prior_gets_no_gradient(full, sample):
    BrainStep(full, LossSettings()).eval()(**sample())["loss"].backward()
    assert all(p.grad is None for p in full.prior.parameters())


def test_the_prior_s_step_is_its_loss(full, rng):
    tokens, condition = torch.randn(2, 5, 4, 6, generator=rng)
    noise = full.prior.sample_noise(5, generator=torch.Generator().manual_seed(3))
    expected = full.prior.loss(tokens, condition, **noise)
    torch.testing.assert_close(PriorStep(full.prior)(tokens, condition, **noise)["loss"], expected)


def test_mixing_and_temperature_change_by_epoch_as_released():
    """150 epochs: 49 of BiMixCo, then a cosine from .004 to .0075."""
    losses = LossSettings(temperature=0.006, soft_temperatures=(0.004, 0.0075))
    at = lambda epoch: contrastive_phase(losses, 714 * epoch + 5, **given)  # noqa: E731
    given = {"n_steps": 150 * 714, "steps_per_epoch": 714}
    assert [at(0), at(48)] == [(True, 0.006)] * 2
    assert at(49) == (False, 0.004)
    assert at(99) == (False, pytest.approx(0.00575))
    assert at(149) == (False, pytest.approx(0.0075))


def test_without_epochs_mixing_ends_after_its_fraction_of_the_steps():
    losses = LossSettings(mixing_fraction=0.33)
    mixed = [contrastive_phase(losses, step, n_steps=30)[0] for step in range(30)]
    assert sum(mixed) == 10
    assert mixed[:10] == [True] * 10
