"""What is sharded by itself; training of several processes is tested in `test_distributed.py`."""

import pytest
import torch
from torch import distributed
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from mindeye2.training.sharding import sharded_copy


@pytest.fixture
def group():
    """Initialise a process group of this process alone."""
    distributed.init_process_group("gloo", rank=0, world_size=1, store=distributed.HashStore())
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_blocks_prior_layers_ridges_and_output_layer_are_sharded_by_themselves(build_step):
    step = build_step(lowlevel=False)
    copied = sharded_copy(step, torch.device("cpu"))
    units = {name for name, module in copied.named_modules() if isinstance(module, FSDPModule)}
    assert {"", "model.backbone.output", "model.ridge.maps.subj01"} < units
    assert {f"model.backbone.trunk.blocks.{i}" for i in range(2)} < units
    assert {f"model.prior.network.attentions.{i}" for i in range(2)} < units
    assert "model.backbone.trunk.blocks.0.1.0" not in units
    assert all(isinstance(p, DTensor) for p in copied.parameters())
    for name, value in step.state_dict().items():
        assert not isinstance(value, DTensor)
        assert torch.equal(copied.state_dict()[name].full_tensor(), value)
