"""Published checkpoints: the released numbers, every name accounted for, and what is refused."""

import pytest
import torch

from mindeye2.released.mindeye import infer_settings, load_mindeye

PEOPLE = ["subj01", "subj02"]


@pytest.fixture(scope="module")
def case(golden_case):
    return golden_case("model")


@pytest.fixture
def state(case, fill):
    shapes = case[0]["state_dict"]
    return fill(shapes, keep=[k for k in shapes if k.endswith("freqs") or "noise_scheduler" in k])


@pytest.fixture
def model(state):
    return load_mindeye(state, subjects=PEOPLE).eval()


@torch.no_grad()
def test_ridge_backbone_and_heads_give_the_released_numbers(model, case):
    golden = case[1]
    outs = [model(golden[f"voxels_{i}"][:, 0], subject=s) for i, s in enumerate(PEOPLE)]
    for name in ("backbone_tokens", "retrieval_tokens", "lowlevel_latents", "lowlevel_maps"):
        got = torch.cat([getattr(out, name) for out in outs])
        torch.testing.assert_close(got, golden[name], rtol=1e-4, atol=2e-5, msg=name)


@torch.no_grad()
def test_the_prior_gives_the_released_predictions(model, case):
    prior, golden = model.prior, case[1]
    times, condition = golden["prior_times"], golden["backbone_tokens"]
    torch.testing.assert_close(prior.alphas_cumprod.float(), golden["alphas_cumprod"])
    noised = prior.add_noise(golden["prior_target"], times, golden["prior_noise"])
    torch.testing.assert_close(noised, golden["prior_noised"])
    predicted = prior.predict(noised, times, condition)
    torch.testing.assert_close(predicted, golden["prior_pred"], rtol=1e-4, atol=1e-4)
    guided = prior.predict(noised, times, condition, guidance_scale=2.0)
    torch.testing.assert_close(guided, golden["prior_pred_cfg2"], rtol=1e-4, atol=1e-4)
    loss = (predicted - golden["prior_target"]).square().mean()
    torch.testing.assert_close(loss, golden["prior_loss"], rtol=1e-4, atol=0)


def test_short_sampling_gives_the_released_sample_up_to_amplified_rounding(model, case):
    """A wrong formula is off by 1; rounding alone by .006: see tests/golden/README.md."""
    facts, golden = case
    generator = torch.Generator().manual_seed(facts["seed"])
    sample = model.prior.sample(golden["backbone_tokens"], steps=20, generator=generator)
    torch.testing.assert_close(sample, golden["prior_sample_ddim20_eta1"], rtol=0, atol=0.05)


def test_sizes_are_read_from_the_shapes(case, state):
    facts, settings = case[0], infer_settings(state)
    assert settings.n_tokens == facts["clip_tokens"]
    assert settings.n_features == facts["clip_dim"]
    assert settings.n_latent == facts["hidden_dim"]
    assert settings.n_blocks == facts["n_blocks"]
    assert settings.prior.depth == facts["prior_depth"]
    assert settings.prior.head_width == facts["prior_dim_head"]


def test_every_parameter_of_the_published_checkpoint_is_accounted_for(golden_case):
    """At full size, without memory. The facts' count includes 16 rotary frequencies."""
    shapes, _ = golden_case("released_subj01_keys")
    with torch.device("meta"):
        state = {name: torch.empty(shape) for name, shape in shapes.items()}
    model = load_mindeye(state, subjects=["subj01"])
    assert sum(p.numel() for p in model.parameters()) == 2_227_294_844 - 16
    assert model.ridge.n_voxels == {"subj01": 15_724}
    assert infer_settings(state).prior.n_heads == 32


def test_a_checkpoint_without_low_level_head_loads(state):
    prefixes = ("backbone.b_maps", "backbone.blin", "backbone.bnorm", "backbone.bupsampler")
    state = {name: value for name, value in state.items() if not name.startswith(prefixes)}
    assert load_mindeye(state, subjects=PEOPLE).lowlevel is None


def test_the_parameters_can_be_trained(model, rng):
    out = model(torch.randn(3, 50, generator=rng), subject="subj01")
    out.retrieval_tokens.square().sum().backward()
    assert model.ridge.maps["subj01"].weight.grad.abs().sum() > 0


def test_constants_of_the_architecture_are_accepted(state):
    state["diffusion_prior.noise_scheduler.betas"] = torch.zeros(50)
    state["diffusion_prior.net.causal_transformer.layers.0.0.rotary_emb.freqs"] = torch.zeros(6)
    assert load_mindeye(state, subjects=PEOPLE).prior.n_levels == 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"backbone.extra.weight": torch.zeros(2)},
            r"unknown entries \['backbone.extra.weight'\]",
        ),
        ({"backbone.clip_proj.0.bias": None}, r"nothing for \['projector.layers.0.bias'\]"),
        (
            {"backbone.bnorm.bias": torch.zeros(3)},
            r"bnorm.bias of shape \(3,\) instead of \(64,\)",
        ),
        ({"backbone.backbone_linear.weight": None}, r"\['backbone.backbone_linear.weight'\] are"),
        ({"backbone.mixer_blocks2.0.0.weight": torch.zeros(2)}, r"reads 2 trials at once"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(state, change, message):
    state |= change
    state = {name: value for name, value in state.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        load_mindeye(state, subjects=PEOPLE)


def test_each_ridge_needs_a_name(state):
    with pytest.raises(ValueError, match=r"has 2 ridges, one per subject, got 1 names"):
        load_mindeye(state, subjects=["subj01"])
