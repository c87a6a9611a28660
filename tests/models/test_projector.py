"""From backbone tokens to retrieval tokens."""

import pytest
import torch
from torch import nn

from mindeye2.models.projector import Projector


def test_the_residual_projector_starts_as_the_identity_and_learns(rng):
    projector = Projector(6)
    tokens = torch.randn(3, 5, 6, generator=rng)
    assert torch.equal(projector(tokens), tokens)
    projector(tokens).square().sum().backward()
    assert projector.layers[-1].weight.grad.abs().sum() > 0


def test_the_released_projector_has_no_skip(rng):
    projector = Projector(6, residual=False)
    with torch.no_grad():
        projector.layers[-1].weight.zero_()
        projector.layers[-1].bias.fill_(2.0)
    assert torch.equal(projector(torch.randn(3, 5, 6, generator=rng)), torch.full((3, 5, 6), 2.0))


@pytest.mark.parametrize("residual", [True, False])
def test_each_token_is_projected_by_itself(rng, residual):
    projector = Projector(6, residual=residual)
    nn.init.normal_(projector.layers[-1].weight, generator=rng)
    tokens = torch.randn(3, 5, 6, generator=rng)
    one_by_one = torch.stack([projector(tokens[:, i : i + 1])[:, 0] for i in range(5)], dim=1)
    torch.testing.assert_close(projector(tokens), one_by_one)
