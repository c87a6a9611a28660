"""Safetensors files: views and shared memory, failures, permissions."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from mindeye2.core import tensors as module
from mindeye2.core.tensors import read_tensor, save_tensors, tensor_names


def test_tensors_may_be_transposed_or_share_memory(tmp_path, rng):
    values = torch.randn(6, 5, generator=rng)
    state = {"weight": values, "same": values, "turned": values.T, "count": torch.tensor(3)}
    save_tensors(state, tmp_path / "x.safetensors", metadata={"kind": "test"})
    torch.testing.assert_close(load_file(tmp_path / "x.safetensors"), state, rtol=0, atol=0)
    with safe_open(tmp_path / "x.safetensors", framework="pt") as stored:
        assert stored.metadata() == {"kind": "test"}


def test_the_file_is_readable_by_others(tmp_path):
    save_tensors({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_failed_write_is_an_error_of_the_operating_system(tmp_path, monkeypatch):
    """The command line reports those in one line."""
    folder = tmp_path / "no-such-folder"
    with pytest.raises(OSError, match=r"x.safetensors cannot be written: .*No such file"):
        save_tensors({}, folder / "x.safetensors")
    monkeypatch.setattr(module, "save_file", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_tensors({}, tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_tensors_are_listed_and_read_one_by_one(tmp_path):
    path = tmp_path / "some.safetensors"
    assert tensor_names(path) == set()
    save_tensors({"a": torch.arange(3), "b": torch.ones(2, 2)}, path)
    assert tensor_names(path) == {"a", "b"}
    assert read_tensor(path, "a").tolist() == [0, 1, 2]
