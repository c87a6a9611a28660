"""What is saved of a training; how a run goes on with it is tested with the loop."""

import json

import pytest
import torch
from torch import nn

from mindeye2.core.errors import ArtifactError
from mindeye2.training.state import TrainingState


def trained(seed, *, width=3):
    """Return a layer after one step of AdamW, its parameters and the optimiser."""
    rng = torch.Generator().manual_seed(seed)
    layer = nn.Linear(width, 2)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, generator=rng))
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    layer(torch.randn(5, width, generator=rng)).square().mean().backward()
    optimizer.step()
    return dict(layer.named_parameters()), optimizer


def state_of(folder, seed, **sizes):
    return TrainingState(folder, *trained(seed, **sizes), ema=True)


def test_weights_moments_and_averages_come_back(tmp_path):
    first, second = state_of(tmp_path, 0), state_of(tmp_path, 1)
    first.average(0.5, 0)
    first.save(1)
    assert second.load() == 1
    for name, parameter in first.trainable.items():
        other = second.trainable[name]
        assert torch.equal(parameter, other)
        assert torch.equal(first.ema[name], second.ema[name])
        moments, loaded = first.optimizer.state[parameter], second.optimizer.state[other]
        assert {*moments} == {*loaded}
        assert all(torch.equal(moments[key], loaded[key]) for key in moments)


def test_nothing_saved_is_step_0(tmp_path):
    state = state_of(tmp_path, 0)
    before = [p.clone() for p in state.trainable.values()]
    assert state.load() == 0
    assert all(map(torch.equal, before, state.trainable.values()))


def test_a_run_killed_while_it_saved_has_the_state_before(tmp_path):
    state = state_of(tmp_path, 0)
    state.save(1)
    (tmp_path / "state").rename(tmp_path / "state.old")
    assert state_of(tmp_path, 1).load() == 1
    assert json.loads((tmp_path / "state/progress.json").read_text()) == {"step": 1}


def test_averages_are_in_place_for_a_block_only(tmp_path):
    state = state_of(tmp_path, 0)
    before = state.trainable["bias"].clone()
    with torch.no_grad():
        state.trainable["bias"].mul_(2)
    with state.averaged():
        assert torch.equal(state.trainable["bias"], before)
    assert torch.equal(state.trainable["bias"], 2 * before)


def test_the_state_of_another_model_is_refused(tmp_path):
    state_of(tmp_path, 0).save(1)
    parameters, optimizer = trained(1)
    other = TrainingState(tmp_path, {"scale": parameters["bias"]}, optimizer, ema=False)
    with pytest.raises(ArtifactError, match=r"is of another model.*another --out"):
        other.load()
