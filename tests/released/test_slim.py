"""Safetensors written block by block are what the library would have written."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from mindeye2.released.pieces import Pieces
from mindeye2.released.slim import slim_bytes, write_slim


@pytest.fixture
def state(rng):
    values = torch.randn(6, 5, generator=rng)
    return {
        "weight": values,
        "turned": values.T,
        "cut": Pieces((5, 6), [values.flatten()[:7], values.flatten()[7:]]),
        "count": torch.tensor(3),
        "kept": torch.tensor([True, False]),
        "brain": values.bfloat16(),
    }


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_what_is_written_is_read_by_the_library(tmp_path, state, dtype):
    path = tmp_path / "x.safetensors"
    write_slim(path, state, dtype=dtype, mapped=False, facts={"kind": "test"})
    got = load_file(path)
    for name, value in state.items():
        want = value.whole() if isinstance(value, Pieces) else value
        want = want.to(dtype) if dtype and want.is_floating_point() else want
        torch.testing.assert_close(got[name], want, rtol=0, atol=0)
    with safe_open(path, framework="pt") as stored:
        assert stored.metadata() == {"kind": "test"}
    size = slim_bytes(state, dtype=dtype)
    header = int.from_bytes(path.read_bytes()[:8], "little")
    assert path.stat().st_size == size + 8 + header
    assert header % 8 == 0  # or numbers would not lie where processors want them


def test_a_number_too_large_for_half_precision_is_named_and_nothing_is_left(tmp_path):
    state = {"fine": torch.ones(2), "huge": torch.tensor([1.0, 1e6])}
    with pytest.raises(ValueError, match=r"huge has the value 1e\+06.*float16.*precision=float32"):
        write_slim(tmp_path / "x.safetensors", state, dtype=torch.float16, mapped=False, facts={})
    assert list(tmp_path.iterdir()) == []
