"""The whole MindEye2 model at small sizes."""

import pytest
import torch

from mindeye2.models.decoder import build_mindeye
from mindeye2.models.model_settings import LowLevelSettings, ModelSettings, PriorSettings

SMALL = ModelSettings(
    n_tokens=4,
    n_features=6,
    n_latent=10,
    lowlevel=LowLevelSettings(channels=2, size=3),
    prior=PriorSettings(n_heads=2, head_width=4),
)
RELEASED = SMALL.model_copy(
    update={
        "trunk": "released",
        "residual_projector": False,
        "lowlevel": LowLevelSettings(channels=4, size=2, coarse_channels=8, n_maps=5),
        "prior": PriorSettings(
            n_heads=2,
            head_width=4,
            predict_residual=False,
            fused_kernels=False,
            released_ddim=True,
        ),
    }
)


@pytest.fixture
def model():
    return build_mindeye(SMALL, {"subj01": 7, "subj02": 5})


def test_a_decoder_has_the_sizes_of_its_settings(model, rng):
    out = model(torch.randn(3, 7, generator=rng), subject="subj01")
    assert model.subjects == ["subj01", "subj02"]
    assert out.backbone_tokens.shape == out.retrieval_tokens.shape == (3, 4, 6)
    assert out.lowlevel_latents.shape == (3, 2, 3, 3)
    assert out.lowlevel_maps is None


def test_the_released_low_level_head_has_maps_and_upsampled_latents(rng):
    model = build_mindeye(RELEASED, {"subj01": 7})
    out = model(torch.randn(3, 7, generator=rng), subject="subj01")
    assert out.lowlevel_latents.shape == (3, 4, 8, 8)
    assert out.lowlevel_maps.shape == (3, 4, 5)


def test_an_untrained_decoder_is_linear_and_its_retrieval_tokens_are_backbone_tokens(model, rng):
    a, b = torch.randn(2, 3, 7, generator=rng)
    outs = [model(x, subject="subj01") for x in (a, b, (a + b) / 2)]
    middle = (outs[0].backbone_tokens + outs[1].backbone_tokens) / 2
    torch.testing.assert_close(outs[2].backbone_tokens, middle, rtol=1e-4, atol=1e-6)
    assert torch.equal(outs[0].retrieval_tokens, outs[0].backbone_tokens)


def test_a_batch_of_several_subjects_equals_each_by_itself(model, rng):
    model.eval()
    betas = {
        "subj01": torch.randn(3, 7, generator=rng),
        "subj02": torch.randn(2, 5, generator=rng),
    }
    latents = torch.cat([model.ridge(x, subject=s) for s, x in betas.items()])
    together = model.heads(latents)
    apart = [model(x, subject=s) for s, x in betas.items()]
    for name in ("backbone_tokens", "retrieval_tokens", "lowlevel_latents"):
        torch.testing.assert_close(
            getattr(together, name), torch.cat([getattr(out, name) for out in apart])
        )


def test_gradients_reach_everything_but_the_other_subject_and_the_prior(model, rng):
    out = model(torch.randn(3, 7, generator=rng), subject="subj01")
    (out.retrieval_tokens.square().sum() + out.lowlevel_latents.square().sum()).backward()
    untouched = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is None}
    assert untouched == {"ridge", "prior"}
    assert model.ridge.maps["subj02"].weight.grad is None


def test_low_level_head_can_be_left_out(rng):
    model = build_mindeye(SMALL.model_copy(update={"lowlevel": None}), {"subj01": 7})
    assert model(torch.randn(3, 7, generator=rng), subject="subj01").lowlevel_latents is None


def test_bad_betas_are_refused_by_the_decoder(model):
    betas = torch.zeros(2, 7)
    betas[1, 4] = torch.nan
    with pytest.raises(ValueError, match=r"1 NaN or infinite values.*row 1, voxel 4"):
        model(betas, subject="subj01")
    with pytest.raises(ValueError, match=r"trained on 5 voxels"):
        model(betas, subject="subj02")


@pytest.mark.parametrize("settings", [SMALL, RELEASED], ids=["standard", "released"])
def test_the_decoder_runs_on_the_device_of_its_input(settings):
    """On the meta device, with the CPU as default: no tensor is made on another device."""
    model = build_mindeye(settings, {"subj01": 7}).to("meta")
    out = model(torch.empty(3, 7, device="meta"), subject="subj01")
    assert out.backbone_tokens.device.type == "meta"
    tokens = out.backbone_tokens
    times = torch.zeros(3, dtype=torch.long, device="meta")
    assert model.prior.predict(tokens, times, tokens).shape == tokens.shape
    assert model.prior.add_noise(tokens, times, tokens).device.type == "meta"
