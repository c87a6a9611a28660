"""The residual trunk, and the released mixer, which only adds a constant."""

import torch
from torch import nn

from mindeye2.models.backbone import Backbone, ReleasedMixer, ResidualTrunk, mlp_block


def train_a_little(module):
    """Add noise to every weight, as training would change it."""
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
    return module.eval()


@torch.no_grad()
def bend(module, rng):
    """Return the distance of the module from an affine map."""
    a, b = torch.randn(2, 8, 16, generator=rng)
    middle = (module(a) + module(b)) / 2
    return float((module((a + b) / 2) - middle).abs().max() / middle.abs().max())


def released(n_blocks=4):
    return ReleasedMixer(
        latent_blocks=[mlp_block(16, dropout=0.15) for _ in range(n_blocks)],
        sequence_blocks=[mlp_block(1, dropout=0.15) for _ in range(n_blocks)],
    )


def test_the_residual_trunk_starts_as_the_identity(rng):
    trunk = ResidualTrunk([mlp_block(16, dropout=0.15, zero_init=True) for _ in range(4)])
    latents = torch.randn(8, 16, generator=rng)
    assert torch.equal(trunk(latents), latents)


def test_every_block_of_the_residual_trunk_gets_a_gradient(rng):
    """Zero weights stop the gradient of the layers before them, not their own."""
    trunk = ResidualTrunk([mlp_block(16, dropout=0.0, zero_init=True) for _ in range(4)])
    trunk(torch.randn(8, 16, generator=rng)).square().sum().backward()
    assert all(block[1][3].weight.grad.abs().sum() > 0 for block in trunk.blocks)


def test_a_trained_residual_trunk_is_non_linear(rng):
    trunk = train_a_little(
        ResidualTrunk([mlp_block(16, dropout=0.15, zero_init=True) for _ in range(4)])
    )
    assert bend(trunk, rng) > 0.05


def test_a_trunk_without_blocks_is_linear(rng):
    assert bend(ResidualTrunk([]), rng) < 1e-5


def test_the_released_mixer_only_adds_a_constant(rng):
    mixer = train_a_little(released())
    latents = torch.randn(8, 16, generator=rng)
    added = mixer(latents) - latents
    torch.testing.assert_close(added, added[:1, :1].expand_as(added), rtol=0, atol=1e-5)
    assert added.abs().max() > 0.01
    assert bend(mixer, rng) < 1e-5


def test_the_released_mixer_does_not_depend_on_its_latent_blocks(rng):
    mixer = train_a_little(released())
    latents = torch.randn(8, 16, generator=rng)
    before = mixer(latents)
    with torch.no_grad():
        for p in mixer.latent_blocks.parameters():
            p.copy_(torch.randn(p.shape, generator=rng))
    assert torch.equal(mixer(latents), before)


def test_features_are_predicted_token_by_token(rng):
    backbone = Backbone(trunk=ResidualTrunk([]), output=nn.Linear(16, 6), n_tokens=2)
    latents = torch.randn(8, 16, generator=rng)
    refined, tokens = backbone(latents)
    assert torch.equal(refined, latents)
    assert tokens.shape == (8, 2, 3)
    torch.testing.assert_close(tokens[:, 1], backbone.output(latents)[:, 3:])
