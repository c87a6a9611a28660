"""Tensors in pieces, block by block."""

from pathlib import Path

import pytest
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


@pytest.fixture
def mapped(tmp_path, rng):
    """Return a tensor of 32 MB in memory, and the same mapped from a file."""
    value = torch.randn(2000, 4000, generator=rng)
    torch.save({"a": value}, tmp_path / "a.pt")
    return value, torch.load(tmp_path / "a.pt", mmap=True, weights_only=True)["a"]


def resident_pages_of_files():
    """Count memory that is mapped from files, in kB, where the system says it."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("this system does not say what is resident")
    return next(int(x.split()[1]) for x in status.read_text().splitlines() if "RssFile" in x)


def test_what_was_let_go_is_read_from_the_file_again(mapped):
    value, file = mapped
    for _ in range(2):
        assert all(b.isfinite().all() for b in blocks(file, mapped=True))
    torch.testing.assert_close(file, value, rtol=0, atol=0)


def test_what_was_written_no_longer_counts_as_memory(mapped):
    _, file = mapped
    before = resident_pages_of_files()
    assert all(b.isfinite().all() for b in blocks(file, mapped=False))
    held = resident_pages_of_files() - before
    assert all(b.isfinite().all() for b in blocks(file, mapped=True))
    kept = resident_pages_of_files() - before
    assert held > 25_000 > 5_000 > kept


def test_a_copy_is_never_let_go(mapped, monkeypatch):
    """A transposed tensor is copied to be flattened: its numbers are in no file."""
    released = []
    monkeypatch.setattr(pieces, "_release", released.append)
    assert [len(list(blocks(mapped[1].T, mapped=True))), len(released)] == [1, 0]
    assert [len(list(blocks(mapped[1], mapped=True))), len(released)] == [1, 1]
