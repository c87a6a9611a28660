"""A model sharded over ranks by FSDP2.

PyTorch's modules for it take a second to import, so that only sharded training does.
"""

import copy
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor, nn

from mindeye2.training.blocks import blocks_of
from mindeye2.training.distributed import current_shard

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

__all__ = ["allocate", "gathered_alone", "is_sharded", "sharded_copy", "whole_tensor"]

_LARGE = 0.01
"""Fraction of all parameters from which a layer outside the blocks is sharded by itself: ridges,
the output layer."""


def sharded_copy(
    module: nn.Module, device: torch.device, *, dtype: torch.dtype | None = None
) -> nn.Module:
    """Return a copy of a module whose parameters are sharded, from those of the first rank.

    Each block and each large layer is gathered by itself when it is computed; large layers, most
    of the model, in `dtype`, as autocast would convert them: with half the memory, and to the same
    numbers. Gradients are reduced in float32. The module itself is left on the CPU, and on other
    ranks than the first without the values of what is trained: see `allocate`.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    empty = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in module.parameters()
    }
    copied = copy.deepcopy(module, empty)
    mesh = init_device_mesh(device.type, (current_shard().world_size,))
    for block in blocks_of(copied):
        fully_shard(block, mesh=mesh)
    # Inputs are autocast's to convert.
    half = MixedPrecisionPolicy(
        param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for layer in gathered_alone(copied):
        fully_shard(layer, mesh=mesh, mp_policy=half)
    fully_shard(copied, mesh=mesh)
    allocate(copied, device)
    first = current_shard().rank == 0
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(copied, module.state_dict() if first else {}, options=options)
    module.cpu()
    if not first:
        trained = {id(p) for p in module.parameters() if p.requires_grad}
        module._apply(lambda t: t.to("meta") if id(t) in trained else t)
    return copied


def gathered_alone(module: nn.Module) -> list[nn.Linear]:
    """Return the layers outside the blocks that are large."""
    inside = {child for block in blocks_of(module) for child in block.modules()}
    total = sum(p.numel() for p in module.parameters())
    return [
        child
        for child in module.modules()
        if isinstance(child, nn.Linear)
        and child not in inside
        and child.weight.numel() >= _LARGE * total
    ]


def allocate(module: nn.Module, device: torch.device) -> None:
    """Give parameters without memory some on a device; it holds anything."""

    def allocated(value: Tensor) -> Tensor:
        return torch.empty_like(value, device=device) if value.is_meta else value.to(device)

    module._apply(allocated)


def is_sharded(value: Tensor) -> "TypeGuard[DTensor]":
    """Return whether a rank holds only a part of a tensor."""
    return hasattr(value, "full_tensor")


def whole_tensor(value: Tensor) -> Tensor:
    """Gather a tensor from all ranks if it is sharded; all of them call it."""
    whole: Tensor = value.full_tensor() if is_sharded(value) else value
    return whole
