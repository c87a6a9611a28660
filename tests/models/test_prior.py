"""The diffusion prior's noising, loss, guidance and samples."""

import pytest
import torch
from torch import nn

from mindeye2.models.prior import DiffusionPrior


class Recorder(nn.Module):
    """A network that records its inputs and predicts a constant."""

    def __init__(self, value=0.0):
        super().__init__()
        self.value = value
        self.calls = []

    def forward(self, noised, times, condition):
        self.calls.append((noised, times, condition))
        return torch.full_like(noised, self.value)


def make_prior(network=None, **options):
    network = network or Recorder()
    return DiffusionPrior(network, n_tokens=3, n_features=4, **options)


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


class Blend(nn.Module):
    """A denoiser whose output depends on all inputs, row by row."""

    def forward(self, noised, times, condition):
        return 0.5 * noised + condition.sin() + 0.01 * times[:, None, None]


@pytest.fixture
def batch(rng):
    return torch.randn(2, 500, 3, 4, generator=rng)


def test_an_untrained_residual_prior_returns_backbone_tokens(batch, rng):
    condition = batch[1][:4]
    prior = make_prior()
    for steps in (1, 5, 100):
        torch.testing.assert_close(
            prior.sample(condition, steps=steps, generator=rng), condition, rtol=0, atol=1e-6
        )


def test_noised_tokens_have_unit_variance_for_unit_variance_tokens(batch):
    prior = make_prior()
    x0, noise = batch
    for level in (0, 30, 99):
        noised = prior.add_noise(x0, torch.full((500,), level), noise)
        assert noised.var() == pytest.approx(1, abs=0.1)
    torch.testing.assert_close(noised, noise, rtol=0, atol=0.01)


def loss_of(prior, x0, condition, *, rng):
    """Return the loss with the prior's own noise."""
    return prior.loss(x0, condition, **prior.sample_noise(len(x0), generator=rng))


def test_the_loss_is_that_of_predicted_clean_tokens(batch, rng):
    """With a network that predicts 0: the mean square, or the distance to the condition."""
    x0, condition = batch
    loss = loss_of(make_prior(predict_residual=False), x0, condition, rng=rng)
    torch.testing.assert_close(loss, x0.square().mean())
    loss = loss_of(make_prior(condition_dropout=0), x0, condition, rng=rng)
    torch.testing.assert_close(loss, (x0 - condition).square().mean())


def test_condition_and_target_are_dropped_independently_at_their_rates(batch, rng):
    network = Recorder()
    prior = make_prior(network, condition_dropout=0.4, target_dropout=0.1)
    with torch.no_grad():
        prior.null_condition.fill_(7)
        prior.null_target.fill_(8)
    loss_of(prior, *batch, rng=rng)
    noised, times, condition = network.calls[0]
    no_condition, no_target = (
        (x == v).flatten(1).all(1) for x, v in ((condition, 7), (noised, 8))
    )
    assert no_condition.float().mean() == pytest.approx(0.4, abs=0.07)
    assert no_target.float().mean() == pytest.approx(0.1, abs=0.05)
    assert (no_condition & no_target).float().mean() == pytest.approx(0.04, abs=0.03)
    assert 0 <= times.min() < 5
    assert 95 <= times.max() < 100


def test_guidance_extrapolates_from_the_unconditional_prediction(batch):
    prior = make_prior(Blend(), predict_residual=False)
    noised, condition = batch
    times = torch.full((500,), 10)
    given = prior.predict(noised, times, condition)
    absent = prior.predict(
        prior.null_target.expand_as(noised), times, prior.null_condition.expand_as(condition)
    )
    guided = prior.predict(noised, times, condition, guidance_scale=3.0)
    torch.testing.assert_close(guided, absent + 3 * (given - absent))


@pytest.mark.parametrize("options", [{"steps": 4}, {"steps": 4, "eta": 1.0}, {"steps": 100}])
def test_a_sample_depends_on_its_own_generator_only(batch, options):
    prior, condition = make_prior(Blend()), batch[1][:3]
    together = prior.sample(condition, generator=seeded(5, 6, 7), **options)
    alone = prior.sample(condition[1:2], generator=seeded(6), **options)
    torch.testing.assert_close(alone[0], together[1], rtol=0, atol=0)
    other = prior.sample(condition[1:2], generator=seeded(8), **options)
    assert not torch.allclose(other, alone)


def test_a_second_call_with_one_generator_gives_other_samples(batch):
    prior, generator = make_prior(Blend()), torch.Generator().manual_seed(0)
    first, second = (prior.sample(batch[1][:3], steps=4, generator=generator) for _ in range(2))
    assert not torch.allclose(first, second)


def test_the_released_sampler_visits_the_released_levels(batch, rng):
    for released, expected in ((True, [74, 49, 24]), (False, [99, 74, 49, 24])):
        network = Recorder()
        prior = make_prior(network, released_ddim=released)
        prior.sample(batch[1][:1], steps=4, generator=rng)
        assert [int(times[0]) for _, times, _ in network.calls] == expected


def test_too_many_steps_are_refused(batch, rng):
    with pytest.raises(ValueError, match=r"steps must be in \[1, 100\], got 101"):
        make_prior().sample(batch[1], steps=101, generator=rng)
