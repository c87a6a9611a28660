import pytest
import torch

from mindeye2.core.runtime import process_rng
from mindeye2.generation.autoencoder import AutoencoderSettings, build_autoencoder
from mindeye2.generation.unclip import UnclipSettings, build_unclip, image_noise

SMALL = UnclipSettings(
    latent_channels=4, latent_size=4, n_features=6, widths=(32,), head_width=16, sampling_steps=3
)


@pytest.fixture(scope="module", params=["sample", "epsilon"])
def unclip(request):
    sizes = AutoencoderSettings(latent_channels=4, widths=(4, 4, 4), n_blocks=1)
    with process_rng(0, "unclip"):
        autoencoder = build_autoencoder(sizes)
        settings = SMALL.model_copy(update={"prediction": request.param})
        return build_unclip(settings, autoencoder).eval()


@pytest.fixture
def tokens(rng):
    return torch.randn(3, 16, 6, generator=rng)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_an_image_does_not_depend_on_the_rest_of_its_batch(unclip, tokens):
    together = unclip.decode(tokens, seeds=[5, 6, 7])
    alone = unclip.decode(tokens[1:2], seeds=[6])
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)
    assert together.shape == (3, 3, 64, 64)


def test_the_seed_and_the_tokens_decide_the_latents(unclip, tokens):
    first, again, other = (unclip.sample_latents(tokens, seeds=[s] * 3) for s in (1, 1, 2))
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    assert not torch.allclose(other, first)
    assert not torch.allclose(unclip.sample_latents(tokens + 1, seeds=[1] * 3), first)


def test_start_noise_is_standard_normal_and_belongs_to_its_seed():
    noise = image_noise([3, 4], (64, 32), stream="unclip")
    assert torch.equal(image_noise([4], (64, 32), stream="unclip")[0], noise[1])
    assert not torch.equal(image_noise([4], (64, 32), stream="other")[0], noise[1])
    assert noise.mean().abs() < 4 / noise.numel() ** 0.5
    assert abs(noise.std() - 1) < 0.05


def test_the_loss_repeats_with_its_generator_and_reaches_the_network(unclip, tokens, rng):
    latents = torch.randn(3, 4, 4, 4, generator=rng)
    shapes = (latents.shape, tokens.shape)
    first, again, other = (
        unclip(latents, tokens, **unclip.sample_noise(*shapes, generator=seeded(s)))["loss"]
        for s in (0, 0, 1)
    )
    assert first == again
    assert first != other
    first.backward()
    assert any(p.grad.abs().sum() > 0 for p in unclip.unet.parameters() if p.grad is not None)
    assert all(p.grad is None for p in unclip.autoencoder.parameters())
    unclip.zero_grad()


def test_a_constant_grid_of_any_size_conditions_alike(unclip, rng):
    """Neither the resized grid nor the attention depends on how often a token stands there."""
    token = torch.randn(1, 1, 6, generator=rng)
    few, many = (
        unclip.sample_latents(token.expand(1, n, 6).contiguous(), seeds=[0]) for n in (16, 49)
    )
    torch.testing.assert_close(many, few, rtol=1e-4, atol=1e-5)


def test_own_state_lacks_only_the_autoencoder(unclip, tokens):
    state = unclip.own_state()
    assert not any(name.startswith("autoencoder") for name in state)
    other = build_unclip(unclip.settings, unclip.autoencoder).eval()
    other.load_own_state(state)
    first = unclip.sample_latents(tokens, seeds=[0, 1, 2])
    assert torch.equal(other.sample_latents(tokens, seeds=[0, 1, 2]), first)
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_own_state(dict(list(state.items())[1:]))


def test_a_perfect_predictor_is_sampled_to_its_data(unclip, tokens, monkeypatch):
    """With all mass on one point, the exact predictor leads every sample there."""
    target = torch.full((3, 4, 4, 4), 0.7)
    scheduler = unclip.scheduler

    def predict(latents, times, _):
        a = scheduler.alphas_cumprod[times][:, None, None, None]
        noise = (latents - a.sqrt() * target) / (1 - a).sqrt()
        return noise if unclip.settings.prediction == "epsilon" else target

    monkeypatch.setattr(unclip, "predict", predict)
    sampled = unclip.sample_latents(tokens, seeds=[0, 1, 2])
    torch.testing.assert_close(sampled, target, rtol=0, atol=2e-2)
