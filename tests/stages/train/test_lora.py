import pytest
import torch

from mindeye2.core.runtime import process_rng
from mindeye2.models.decoder import build_mindeye
from mindeye2.models.model_settings import LowLevelSettings, ModelSettings, PriorSettings
from mindeye2.stages.train.lora import LoraTraining, add_adapters

RANK_2 = LoraTraining(rank=2, alpha=3.0)


@pytest.fixture(params=["residual", "released"])
def model(request):
    """Return a small model, as recommended or as published, none of whose weights is zero."""
    released = request.param == "released"
    sizes = ModelSettings(
        n_tokens=4,
        n_features=6,
        n_latent=10,
        n_blocks=2,
        trunk=request.param,
        lowlevel=LowLevelSettings(channels=2, size=2),
        prior=PriorSettings(
            n_heads=2, head_width=4, condition_in_sequence=released, fused_kernels=not released
        ),
    )
    with process_rng(0, "model"):
        built = build_mindeye(sizes, {"subj01": 7})
        for parameter in built.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return built.eval()


@pytest.fixture
def outputs(rng):
    """Return a function that gives the outputs of all parts of a model."""
    betas, noised = torch.randn(5, 7, generator=rng), torch.randn(5, 4, 6, generator=rng)

    def _outputs(model):
        with torch.no_grad():
            out = model(betas, subject="subj01")
            clean = model.prior.predict(noised, torch.arange(5), out.backbone_tokens)
        return [out.backbone_tokens, out.retrieval_tokens, out.lowlevel_latents, clean]

    return _outputs


def shift(model, rng):
    """Give both matrices of every adapter random values."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=rng))


def same(left, right, **tolerance):
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def test_adapters_start_at_no_change(model, outputs):
    before = outputs(model)
    add_adapters(model, RANK_2, seed=0)
    same(outputs(model), before, rtol=1e-5, atol=1e-6)


def test_adapters_of_the_linear_layers_of_backbone_and_prior_alone_are_trained(model):
    linear = {
        name
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and min(layer.in_features, layer.out_features) > 2
    }
    add_adapters(model, RANK_2, seed=0)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    adapted = {name.partition(".lora_")[0] for name in trained}
    assert all(".lora_" in name for name in trained)
    assert adapted == {n for n in linear if n.startswith(("backbone.", "prior."))}
    assert {"backbone.output", "prior.network.output"} < adapted


def test_the_merged_model_has_the_outputs_of_model_and_adapters(model, outputs, rng):
    before = outputs(model)
    merge = add_adapters(model, RANK_2, seed=0)
    shift(model, rng)
    expected = outputs(model)
    merge()
    same(outputs(model), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(before[0], expected[0], rtol=0.1)
    assert not torch.allclose(before[3], expected[3], rtol=0.1)


def test_merged_weights_are_those_of_the_paper_s_equation(model, rng):
    """W + alpha / rank * B A, under the names of before; all else to the bit."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    merge = add_adapters(model, RANK_2, seed=0)
    shift(model, rng)
    adapted = {name: value.clone() for name, value in model.named_parameters()}
    merge()
    assert list(model.state_dict()) == list(before)
    for name, value in model.state_dict().items():
        layer = name.removesuffix(".weight")
        if f"{layer}.lora_A.lora.weight" in adapted:
            a, b = (adapted[f"{layer}.lora_{matrix}.lora.weight"] for matrix in "AB")
            torch.testing.assert_close(value, before[name] + 3.0 / 2 * b @ a)
        else:
            assert torch.equal(value, before[name]), name


def test_adapters_depend_on_the_seed_alone(model):
    def first(seed):
        torch.rand(1)  # moves the stream of the process
        merge = add_adapters(model, RANK_2, seed=seed)
        values = model.backbone.output.lora_A["lora"].weight.detach().clone()
        merge()
        return values

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_a_rank_that_no_layer_exceeds_is_answered_with_the_setting(model):
    with pytest.raises(ValueError, match=r"lora\.rank=512 is not below the width of any.* as 8"):
        add_adapters(model, LoraTraining(rank=512), seed=0)
