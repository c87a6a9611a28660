"""Tensors in pieces, block by block."""

import torch

from mindeye2.released import pieces
from mindeye2.released.pieces import Pieces, blocks


def test_pieces_make_the_whole(rng):
    value = torch.randn(4, 3, generator=rng)
    flat = value.flatten()
    cut = Pieces((4, 3), [flat[:5], flat[5:]])
    torch.testing.assert_close(cut.whole(), value)
    assert cut.dtype == torch.float32


def test_blocks_follow_the_order_of_the_tensor_however_it_lies(rng, monkeypatch):
    monkeypatch.setattr(pieces, "_BLOCK", 4)
    value = torch.randn(5, 3, generator=rng)
    for given in (value, value.T):
        got = list(blocks(given, mapped=False))
        assert max(len(block) for block in got) == 4
        torch.testing.assert_close(torch.cat(got), given.flatten())
    assert [float(b) for b in blocks(torch.tensor(2.0), mapped=False)] == [2.0]


def test_what_was_let_go_is_read_from_the_file_again(tmp_path, rng):
    value = torch.randn(300, 400, generator=rng)
    torch.save({"a": value}, tmp_path / "a.pt")
    mapped = torch.load(tmp_path / "a.pt", mmap=True, weights_only=True)["a"]
    for _ in range(2):
        torch.testing.assert_close(torch.cat(list(blocks(mapped, mapped=True))), value.flatten())
    torch.testing.assert_close(mapped, value)
    # A transposed tensor is copied to be flattened: the copy must not be let go.
    again = torch.cat([block.clone() for block in blocks(mapped.T, mapped=True)])
    torch.testing.assert_close(again, value.T.flatten())
