"""Published checkpoints: released numbers, strict loading, and export to the released names."""

import pytest
import torch
from torch.nn import functional as F

from mindeye2.models.decoder import build_mindeye
from mindeye2.models.model_settings import ModelSettings
from mindeye2.released.mindeye import export_mindeye, infer_settings, load_mindeye

SUBJECTS = ["subj01", "subj02"]


@pytest.fixture(scope="module")
def case(golden_case):
    return golden_case("model")


@pytest.fixture
def state(case, fill):
    shapes = case[0]["state_dict"]
    return fill(shapes, keep=[k for k in shapes if k.endswith("freqs") or "noise_scheduler" in k])


@pytest.fixture
def model(state):
    return load_mindeye(state, subjects=SUBJECTS).eval()


@torch.no_grad()
def test_ridge_backbone_and_heads_give_the_released_numbers(model, case):
    golden = case[1]
    outs = [model(golden[f"voxels_{i}"][:, 0], subject=s) for i, s in enumerate(SUBJECTS)]
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
    exported = export_mindeye(model)
    assert {name: list(value.shape) for name, value in exported.items()} == shapes


def test_a_checkpoint_without_low_level_head_loads(state):
    prefixes = ("backbone.b_maps", "backbone.blin", "backbone.bnorm", "backbone.bupsampler")
    state = {name: value for name, value in state.items() if not name.startswith(prefixes)}
    assert load_mindeye(state, subjects=SUBJECTS).lowlevel is None


def test_the_parameters_can_be_trained(model, rng):
    out = model(torch.randn(3, 50, generator=rng), subject="subj01")
    out.retrieval_tokens.square().sum().backward()
    assert model.ridge.maps["subj01"].weight.grad.abs().sum() > 0


def test_constants_of_the_architecture_are_accepted(state):
    state["diffusion_prior.noise_scheduler.betas"] = torch.zeros(50)
    state["diffusion_prior.net.causal_transformer.layers.0.0.rotary_emb.freqs"] = torch.zeros(6)
    assert load_mindeye(state, subjects=SUBJECTS).prior.n_levels == 50


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
        load_mindeye(state, subjects=SUBJECTS)


def test_each_ridge_needs_a_name(state):
    with pytest.raises(ValueError, match=r"has 2 ridges, one per subject, got 1 names"):
        load_mindeye(state, subjects=["subj01"])


def test_exported_weights_are_the_released_ones(model, state, case):
    exported = export_mindeye(model)
    assert exported.keys() == case[0]["state_dict"].keys()
    loaded = {name: exported[name] for name in state}
    torch.testing.assert_close(loaded, state, rtol=0, atol=0)
    again = load_mindeye(exported, subjects=SUBJECTS)
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_exported_constants_are_those_of_the_released_modules(model):
    """Formulas of DALLE2-pytorch's NoiseScheduler and of rotary-embedding-torch."""
    n_levels, exported = model.prior.n_levels, export_mindeye(model)
    x = torch.linspace(0, n_levels, n_levels + 1, dtype=torch.float64)
    curve = torch.cos(((x / n_levels) + 0.008) / 1.008 * torch.pi * 0.5) ** 2
    betas = (1 - curve[1:] / curve[:-1]).clip(0, 0.999)
    kept = (1 - betas).cumprod(0)
    before = F.pad(kept[:-1], (1, 0), value=1.0)
    variance = betas * (1 - before) / (1 - kept)
    reference = {
        "betas": betas,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": torch.sqrt(kept),
        "sqrt_one_minus_alphas_cumprod": torch.sqrt(1 - kept),
        "log_one_minus_alphas_cumprod": torch.log(1 - kept),
        "sqrt_recip_alphas_cumprod": torch.sqrt(1 / kept),
        "sqrt_recipm1_alphas_cumprod": torch.sqrt(1 / kept - 1),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": torch.log(variance.clamp(min=1e-20)),
        "posterior_mean_coef1": betas * torch.sqrt(before) / (1 - kept),
        "posterior_mean_coef2": (1 - before) * torch.sqrt(1 - betas) / (1 - kept),
        "p2_loss_weight": (1 + kept / (1 - kept)) ** -0.0,
    }
    for name, values in reference.items():
        got = exported[f"diffusion_prior.noise_scheduler.{name}"]
        torch.testing.assert_close(got, values.float(), rtol=1e-6, atol=1e-7, msg=name)
    width = min(32, model.prior.network.head_width)
    freqs = 1.0 / (10_000 ** (torch.arange(0, width, 2)[: width // 2].float() / width))
    rotary = "diffusion_prior.net.causal_transformer.layers.0.0.rotary_emb.freqs"
    torch.testing.assert_close(exported[rotary], freqs, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"trunk": "residual"}, r"backbone\.trunk\."),
        ({"residual_projector": True}, r"projector\.residual"),
        ({"prior": {"predict_residual": True}}, r"prior\.predict_residual"),
        ({"prior": {"condition_in_sequence": False}}, r"prior\.network\.condition"),
        ({"lowlevel": {"coarse_channels": 0, "n_maps": 0}}, "lowlevel without upsampler"),
    ],
)
def test_models_of_another_architecture_are_not_exported(state, changes, named):
    described = infer_settings(state).model_dump()
    for name, value in changes.items():
        described[name] = {**described[name], **value} if isinstance(value, dict) else value
    model = build_mindeye(ModelSettings.model_validate(described), {"subj01": 5})
    with pytest.raises(ValueError, match=named):
        export_mindeye(model)
