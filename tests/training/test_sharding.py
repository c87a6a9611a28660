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


# Of layers that are too small for that at the published size; nothing is changed in place.
@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module .* returned a view tensor")
@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_layers_are_gathered_as_autocast_converts_them(build_step, sample, dtype):
    """So that losses and gradients are the same to the bit, but not the memory."""
    step, batch, gathered = build_step(lowlevel=False), sample(prior=1.0), {}
    step.settings = step.settings.model_copy(update={"lowlevel": 0.0, "maps": 0.0})
    copied = sharded_copy(step, torch.device("cpu"), dtype=dtype)
    names = {module: name for name, module in copied.named_modules()}

    def look(layer, *_call):
        if isinstance(layer, torch.nn.Linear):
            gathered[names[layer]] = layer.weight.dtype

    for layer in copied.modules():
        layer.register_forward_hook(look, prepend=True)  # before it is sharded again
    losses = []
    for module in (step, copied):
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            losses.append(module(**batch))
        losses[-1]["loss"].backward()
    assert losses[0] == losses[1]
    for name in ("model.backbone.output", "model.ridge.maps.subj02"):
        assert gathered[name] == (dtype or torch.float32)
    assert gathered["model.backbone.trunk.blocks.0.1.0"] == torch.float32
    sharded = dict(copied.named_parameters())
    for name, parameter in step.named_parameters():
        if parameter.grad is not None:
            assert sharded[name].dtype == sharded[name].grad.dtype == torch.float32
            assert torch.equal(sharded[name].grad.full_tensor(), parameter.grad), name
