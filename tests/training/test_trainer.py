"""One step in other precisions and in micro-batches."""

import copy

import pytest
import torch
from torch import nn

from mindeye2.training.optimizer import OptimizerSettings
from mindeye2.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture
def batches(sample, rng):
    """Return batches of 2 x 8 rows, mixed at even steps, with targets for every loss."""

    def batch_of(step):
        batch = sample(step, mixing=step % 2 == 0, prior=1.0)
        batch["latents"] = torch.randn(16, 2, 8, 8, generator=rng)
        batch["maps"], batch["maps_augmented"] = torch.randn(2, 16, 4, 5, generator=rng)
        return batch

    return [batch_of(step) for step in range(20)]


@pytest.fixture
def trace(build_step):
    """Train on batches, and return what each step gave."""

    def _trace(batches, *, steps=4, module=None, **changes):
        settings = OptimizerSettings(**{"steps": 20, "max_lr": 3e-3, **changes})
        trainer = Trainer(module or build_step(), settings, device=CPU, seed=0, label="training")
        return [trainer(batch, step) for step, batch in enumerate(batches[:steps])]

    return _trace


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.02), ("float16", 0.05)])
def test_half_precision_trains_like_single_precision(
    batches, precision, tolerance, trace, build_step
):
    """float16 skips the first steps, whose scaled gradients overflow."""
    expected, got = (
        [e["loss"] for e in trace(batches, steps=20, module=build_step(lowlevel=False), **given)]
        for given in ({}, {"precision": precision})
    )
    assert got == pytest.approx(expected, rel=tolerance)
    assert got != pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("n", [2, 4, 8])
def test_micro_batches_have_the_losses_and_gradients_of_the_whole_batch(batches, n, trace):
    # Small steps, because Adam enlarges rounding of gradients near zero.
    expected, got = (trace(batches, accumulate=k, max_lr=1e-6) for k in (1, n))
    for a, b in zip(expected, got, strict=True):
        assert {*a} == {*b} > {"tokens", "prior", "contrastive", "lowlevel", "maps"}
        assert b == pytest.approx(a, rel=1e-5)


def test_embeddings_are_the_same_in_both_forwards(batches, trace, build_step):
    """Of one micro-batch; those of two have dropout of their own."""
    module, seen = build_step(dropout=0.5), []
    module.model.projector.register_forward_hook(lambda *call: seen.append(call[2].detach()))
    trace(batches, steps=1, module=module, accumulate=2)
    first, second, first_again, second_again = seen
    assert torch.equal(first, first_again)
    assert torch.equal(second, second_again)
    assert first.ne(first[:1]).any()


def test_a_batch_that_cannot_be_split_is_refused(batches, trace):
    message = r"8 rows of subj01 of each process cannot be .* 3 micro-batches\. Set optimizer\.acc"
    with pytest.raises(ValueError, match=message):
        trace(batches, accumulate=3)


class Rows(nn.Module):
    """A loss that is a mean over rows, with what a batch may hold beside tensors."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.eye(3))

    def forward(self, x, more, *, scale):
        return {"loss": scale * (self.layer(x) - more["y"]).square().mean()}


def test_means_over_rows_are_accumulated_for_any_module(rng, trace):
    x, y = torch.randn(2, 12, 3, generator=rng)
    batches = [{"x": x, "more": {"y": y}, "scale": 2.0}] * 4
    whole, parts = (trace(batches, module=Rows(), accumulate=n) for n in (1, 3))
    for a, b in zip(whole, parts, strict=True):
        assert b == pytest.approx(a, rel=1e-5)


def test_a_module_of_whole_batches_is_not_split(batches, trace):
    module = Rows()
    module.whole_batch = True
    with pytest.raises(ValueError, match=r"training needs whole batches: set optimizer\.accum"):
        trace(batches, module=module, accumulate=2)


def test_recomputed_blocks_change_nothing_but_the_time(batches, trace, build_step):
    """With dropout, which must be the same again."""
    expected = trace(batches, module=build_step(dropout=0.5))
    module, calls = build_step(dropout=0.5), []
    names = [*module.state_dict()]
    module.model.backbone.trunk.blocks[0][0].register_forward_hook(lambda *_: calls.append(1))
    got = trace(batches, module=module, checkpointing=True)
    assert got == expected
    assert len(calls) == 8
    assert [*module.state_dict()] == names
    assert "forward" not in vars(module.model.backbone.trunk.blocks[0])
    assert trace(batches, module=copy.deepcopy(module), steps=1) != expected[:1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), r"not finite: loss.*betas of subj01 reach nan in trials 7"),
        (1e30, r"not finite: loss.*betas of subj01 reach 1e\+30 in trials 7"),
    ],
)
def test_a_loss_that_is_not_finite_names_terms_subjects_and_trials(
    batches, value, message, trace, build_step
):
    module = build_step()
    before = copy.deepcopy(module.state_dict())
    batch = batches[1]
    batch["betas"]["subj01"][2, 4] = value
    batch["trials"] = {"subj01": torch.tensor([3, 1, 7, 0, 4, 5, 6, 2])}
    with pytest.raises(FloatingPointError, match=message) as raised:
        trace([batch], module=module)
    assert "tokens" in str(raised.value)
    assert "subj02" not in str(raised.value)
    assert all(torch.equal(v, module.state_dict()[k]) for k, v in before.items())


def test_the_environment_does_not_choose_the_precision(batches, monkeypatch, trace):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.warns(UserWarning, match=r"configured for .*'bf16'.*optimizer\.precision is 'fl"):
        got = trace(batches, steps=1)
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    assert got == trace(batches, steps=1)


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_sharding_by_accelerate_is_refused(batches, monkeypatch, name, trace):
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(ValueError, match=rf"cannot be divided by accelerate's {name}\. Start"):
        trace(batches)


def test_a_gpu_without_bfloat16_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    settings = OptimizerSettings(precision="bfloat16")
    with pytest.raises(ValueError, match=r"Tesla T4 has no bfloat16: set .* float16 or float32"):
        Trainer(Rows(), settings, device=torch.device("cuda"), seed=0, label="training")
