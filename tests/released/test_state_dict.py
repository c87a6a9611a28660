"""State dicts under published names, loaded strictly."""

import pytest
import torch
from torch import nn

from mindeye2.released.state_dict import check_complete, fill_network


def rename(name):
    return name.removeprefix("theirs.") if name.startswith("theirs.") else None


@pytest.fixture
def network():
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.fixture
def state():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    return {f"theirs.{name}": value for name, value in module.state_dict().items()}


def test_every_parameter_and_buffer_gets_its_entry(network, state):
    fill_network(network, state, rename=rename, what="a test network")
    assert network[0].weight.data_ptr() == state["theirs.0.weight"].data_ptr()
    assert network[1].num_batches_tracked.dtype == torch.int64


def test_half_precision_becomes_float32(network, state):
    state["theirs.0.weight"] = state["theirs.0.weight"].half()
    fill_network(network, state, rename=rename, what="a test network")
    assert network[0].weight.dtype == torch.float32


def test_all_misfits_are_in_one_message(network, state):
    state["other.weight"] = torch.zeros(1)
    state["theirs.0.bias"] = torch.zeros(5)
    del state["theirs.1.weight"]
    with pytest.raises(ValueError, match=r"not fit a test network: unknown.*other.weight") as told:
        fill_network(network, state, rename=rename, what="a test network")
    assert "nothing for ['1.weight']" in str(told.value)
    assert "theirs.0.bias of shape (5,) instead of (2,)" in str(told.value)


def test_long_lists_are_counted():
    many = {f"{i:03d}": torch.zeros(i + 1) for i in range(20)}
    with pytest.raises(ValueError, match=r"'007'\] and 12 more"):
        check_complete(many, {}, released={}, what="it")
    with pytest.raises(ValueError, match=r"and 12 more of another shape"):
        check_complete(many, dict.fromkeys(many, torch.zeros(99)), released={}, what="it")
