"""The converter's two maps; its released numbers are tested in tests/released."""

import torch
from torch import nn

from mindeye2.generation.clip_converter import ClipConverter


@torch.no_grad()
def test_tokens_are_mixed_first_and_features_then(rng):
    converter = ClipConverter(nn.Linear(4, 5), nn.Linear(3, 2))
    tokens = torch.randn(2, 4, 3, generator=rng)
    mixed = torch.einsum("nk,bkf->bnf", converter.linear1.weight, tokens)
    mixed = mixed + converter.linear1.bias[:, None]
    want = mixed @ converter.linear2.weight.T + converter.linear2.bias
    torch.testing.assert_close(converter(tokens), want)


def test_the_published_sizes_give_257_tokens_of_1024():
    with torch.device("meta"):
        converter = ClipConverter(nn.Linear(256, 257), nn.Linear(1664, 1024))
        assert converter(torch.empty(1, 256, 1664)).shape == (1, 257, 1024)
