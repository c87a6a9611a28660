"""The repeated blocks of a model: recomputed on the way back, and compiled."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

__all__ = ["blocks_of", "recomputed"]


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """Return the members of the outermost ``ModuleList``s: residual blocks, prior layers."""
    if isinstance(module, nn.ModuleList):
        return list(module)
    return [block for child in module.children() for block in blocks_of(child)]


def recomputed(
    module: nn.Module,
    *,
    checkpointing: bool,
    compiling: bool,
    again: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Callable[[], AbstractContextManager[None]]:
    """Return a context in which the blocks of a module are compiled and recomputed.

    Outside it, and in state dicts, the module is what it was. Blocks are recomputed in the context
    that `again` returns.
    """
    forwards: dict[nn.Module, Callable[..., object]] = {}
    if checkpointing or compiling:
        for block in blocks_of(module):
            forward: Callable[..., object] = block.forward
            if compiling:
                forward = torch.compile(forward)
            if checkpointing:
                forward = partial(
                    checkpoint,
                    forward,
                    use_reentrant=False,
                    context_fn=lambda: (nullcontext(), again()),
                )
            forwards[block] = forward

    @contextmanager
    def context() -> Iterator[None]:
        for block, forward in forwards.items():
            vars(block)["forward"] = forward
        try:
            yield
        finally:
            for block in forwards:
                del vars(block)["forward"]

    return context
