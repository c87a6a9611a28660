"""A model sharded over ranks by FSDP2."""

import copy

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from mindeye2.training.blocks import blocks_of
from mindeye2.training.distributed import current_shard

__all__ = ["sharded_copy"]

_LARGE = 0.01
"""Fraction of all parameters from which a layer outside the blocks is sharded by itself: ridges,
the output layer."""


def sharded_copy(module: nn.Module, device: torch.device) -> nn.Module:
    """Return a copy of a module whose parameters are sharded, from those of the first rank.

    Each block and each large layer is gathered by itself when it is computed. The module itself is
    left on the CPU.
    """
    for value in [*module.parameters(), *module.buffers()]:
        of_rank_0 = value.detach().to(device)
        distributed.broadcast(of_rank_0, 0)
        value.detach().copy_(of_rank_0)
    copied = copy.deepcopy(module.cpu())
    mesh = init_device_mesh(device.type, (current_shard().world_size,))
    for unit in _units(copied):
        fully_shard(unit, mesh=mesh)
    fully_shard(copied, mesh=mesh)
    return copied


def _units(module: nn.Module) -> list[nn.Module]:
    blocks = blocks_of(module)
    inside = {child for block in blocks for child in block.modules()}
    total = sum(p.numel() for p in module.parameters())
    large = [
        child
        for child in module.modules()
        if isinstance(child, nn.Linear)
        and child not in inside
        and child.weight.numel() >= _LARGE * total
    ]
    return [*blocks, *large]
