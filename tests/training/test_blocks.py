import pytest
import torch
from torch import nn

from mindeye2.core.runtime import process_rng
from mindeye2.training.blocks import recomputed


class Blocks(nn.Module):
    """Two residual blocks with dropout, and a layer that is no block."""

    def __init__(self, rng):
        super().__init__()
        block = lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6), nn.Dropout(0.5))  # noqa: E731
        self.blocks = nn.ModuleList([block(), block()])
        self.output = nn.Linear(6, 2)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=rng))

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return self.output(x)


def gradients(module, context):
    """Return the gradients, and the calls of the first layer of a block and of the output."""
    calls = []
    hooks = [
        layer.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, layer in (("block", module.blocks[0][0]), ("output", module.output))
    ]
    module.zero_grad()
    with context(), process_rng(0, "dropout"):
        module(torch.ones(3, 6)).square().sum().backward()
    for hook in hooks:
        hook.remove()
    return [p.grad.clone() for p in module.parameters()], calls


def test_recomputed_blocks_have_the_same_gradients(rng):
    """With dropout; the module itself is not changed."""
    module = Blocks(rng)
    names = [*module.state_dict()]
    plain = recomputed(module, checkpointing=False, compiling=False)
    saving = recomputed(module, checkpointing=True, compiling=False)
    expected, once = gradients(module, plain)
    got, twice = gradients(module, saving)
    assert all(map(torch.equal, expected, got))
    assert [once.count("block"), once.count("output")] == [1, 1]
    assert [twice.count("block"), twice.count("output")] == [2, 1]
    assert [*module.state_dict()] == names
    assert gradients(module, plain)[1] == once


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyTorch's own
def test_compiled_blocks_give_the_same_gradients(rng):
    """Dropout is off: a compiled one has random numbers of its own."""
    module = Blocks(rng).eval()
    expected, _ = gradients(module, recomputed(module, checkpointing=False, compiling=False))
    for checkpointing in (False, True):
        context = recomputed(module, checkpointing=checkpointing, compiling=True)
        got, _ = gradients(module, context)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
