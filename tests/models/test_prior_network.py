"""The prior's transformer; the released weights' own numbers are in tests/released."""

import math

import pytest
import torch

from mindeye2.models.prior_network import PriorNetwork, sinusoidal_embedding


def network(**options):
    return PriorNetwork(n_tokens=5, n_features=8, depth=2, n_heads=2, head_width=4, **options)


FORMS = [{}, {"fused_kernels": False}, {"condition_in_sequence": False}]


@pytest.fixture
def inputs(rng):
    noised, condition = torch.randn(2, 3, 5, 8, generator=rng)
    return noised, torch.tensor([0, 50, 99]), condition


def test_times_become_sines_and_cosines():
    got = sinusoidal_embedding(torch.tensor([3]), 6)[0].tolist()
    angles = [3.0, 3.0 / 100, 3.0 / 10_000]
    assert got == pytest.approx([math.sin(a) for a in angles] + [math.cos(a) for a in angles])


def test_fast_and_released_arithmetic_agree(inputs):
    fast, released = network(), network(fused_kernels=False)
    released.load_state_dict(fast.state_dict())
    torch.testing.assert_close(fast(*inputs), released(*inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", FORMS)
def test_every_parameter_gets_a_gradient(inputs, options):
    model = network(**options)
    model(*inputs).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("options", FORMS)
@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_output_depends_on_every_input(inputs, which, options):
    model = network(**options)
    changed = list(inputs)
    changed[which] = changed[which].flip(0)
    assert not torch.allclose(model(*changed)[0], model(*inputs)[0], atol=1e-4)


@pytest.mark.parametrize("options", FORMS)
def test_items_of_a_batch_do_not_mix(inputs, options):
    model = network(**options)
    alone = torch.cat([model(*(x[i : i + 1] for x in inputs)) for i in range(3)])
    torch.testing.assert_close(alone, model(*inputs), rtol=1e-4, atol=1e-5)
