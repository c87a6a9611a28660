"""The arithmetic of a step, counted by hand and the same however the step is computed."""

from contextlib import suppress

import pytest
import torch
from torch import nn

from mindeye2.training.optimizer import OptimizerSettings
from mindeye2.training.trainer import Trainer
from mindeye2.training.utilisation import Utilisation

CPU = torch.device("cpu")


class Loss(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x):
        return {"loss": self.layers(x).square().mean()}


def test_layers_take_their_products_forward_and_back_in_the_first_step():
    trainer = Trainer(Loss(), OptimizerSettings(steps=3), device=CPU, seed=0, label="test")
    trainer.utilisation.peak = 1e6
    assert trainer.utilisation.of_step(0.5) == {}
    trainer({"x": torch.ones(16, 6)}, 0)
    # Two operations a weight and row: forward, gradient of the weights, of the hidden layer.
    flops = 2 * 16 * (2 * 6 * 8 + 3 * 8 * 2)
    assert trainer.utilisation.flops == flops
    trainer({"x": torch.ones(160, 6)}, 1)
    assert trainer.utilisation.of_step(0.5) == {"mfu": round(flops / 0.5e6, 4)}


def test_no_peak_is_made_up_for_a_device_that_is_not_known():
    trainer = Trainer(Loss(), OptimizerSettings(steps=3), device=CPU, seed=0, label="test")
    trainer({"x": torch.ones(16, 6)}, 0)
    assert trainer.utilisation.flops is None
    assert trainer.utilisation.of_step(0.5) == {}


@pytest.mark.parametrize("changes", [{"checkpointing": True}, {"accumulate": 2}])
def test_what_is_computed_twice_counts_once(build_step, sample, changes):
    batch = sample(prior=1.0)
    found = []
    for given in ({}, changes):
        settings = OptimizerSettings(**{"steps": 3, **given})
        step = build_step(lowlevel=False)
        step.settings = step.settings.model_copy(update={"maps": 0.0, "lowlevel": 0.0})
        trainer = Trainer(step, settings, device=CPU, seed=0, label="test")
        trainer.utilisation.peak = 1e6
        trainer(batch, 0)
        found.append(trainer.utilisation.flops)
    assert found[1] == pytest.approx(found[0], rel=1e-3)


def test_a_block_that_fails_is_left_out_too():
    utilisation = Utilisation(1e6)
    with utilisation.counted():
        with suppress(RuntimeError), utilisation.repeated():
            torch.ones(4, 4) @ torch.ones(4, 4)
            raise RuntimeError
        torch.ones(2, 2) @ torch.ones(2, 2)
    assert utilisation.flops == 2 * 2**3
