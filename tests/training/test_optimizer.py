import pytest
from torch import nn, zeros
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from mindeye2.training.optimizer import (
    OptimizerSettings,
    beta1_at,
    build_optimizer,
    learning_rate,
)


def test_one_cycle_is_the_schedule_of_pytorch():
    """Of the learning rate and of the momentum."""
    chosen = OptimizerSettings(steps=70, max_lr=3e-4, warmup=0.2, cycle_momentum=True)
    optimizer = AdamW([nn.Parameter(zeros(1))], lr=1.0)
    reference = OneCycleLR(optimizer, 3e-4, total_steps=70, pct_start=0.2, final_div_factor=1000)
    for step in range(70):
        assert learning_rate(step, chosen) == pytest.approx(reference.get_last_lr()[0], rel=1e-6)
        assert beta1_at(step, chosen) == pytest.approx(optimizer.param_groups[0]["betas"][0])
        optimizer.step()
        if step < 69:
            reference.step()


def test_biases_decay_with_ridges_only_as_released():
    layers = nn.ModuleDict({"ridge": nn.Linear(2, 2), "norm": nn.LayerNorm(2)})
    named = dict(layers.named_parameters())
    for decayed, expected in (
        ("matrices", {"ridge.weight"}),
        ("released", {"ridge.weight", "ridge.bias", "norm.weight"}),
    ):
        first, _ = build_optimizer(named, OptimizerSettings(decayed=decayed)).param_groups
        assert {n for n, p in named.items() if any(p is q for q in first["params"])} == expected
