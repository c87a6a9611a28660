"""Foreign files: what is read, and what is refused before it can do anything."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mindeye2.core.errors import ArtifactError
from mindeye2.released.checkpoints import read_checkpoint


class Harmful:
    """Pickled, it asks whoever loads it to run a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class LossScaler:
    """What DeepSpeed leaves beside the weights; its real module is not installed."""

    __module__ = "deepspeed.runtime.fp16.loss_scaler"
    __qualname__ = "LossScaler"

    def __init__(self):
        self.cur_scale = 3.0


@pytest.fixture
def state(rng):
    return {"a.weight": torch.randn(3, 2, generator=rng), "a.steps": torch.tensor(7)}


def write(path, content, **options):
    torch.save(content, path, **options)  # what importers must read: never done by the package
    return path


def test_a_checkpoint_is_mapped_and_read(tmp_path, state):
    foreign = read_checkpoint(
        write(tmp_path / "last.pth", {"model_state_dict": state, "epoch": 1})
    )
    assert foreign.mapped
    torch.testing.assert_close(foreign.content["model_state_dict"], state)


def test_old_files_and_safetensors_are_read(tmp_path, state):
    old = write(tmp_path / "old.pth", state, _use_new_zipfile_serialization=False)
    assert not read_checkpoint(old).mapped
    torch.testing.assert_close(read_checkpoint(old).content, state)
    save_file(state, tmp_path / "new.safetensors")
    torch.testing.assert_close(read_checkpoint(tmp_path / "new.safetensors").content, state)


def test_arrays_of_numpy_are_data(tmp_path):
    content = {"mean": np.arange(6.0).reshape(2, 3), "mask": np.array([True]), "n": np.float64(2)}
    read = read_checkpoint(write(tmp_path / "gnet.pt", content)).content
    np.testing.assert_array_equal(read["mean"], content["mean"])
    assert read["mask"].dtype == bool
    assert read["n"] == 2


def test_bookkeeping_of_other_libraries_becomes_nothing(tmp_path, state, monkeypatch):
    import sys
    from types import ModuleType

    module = ModuleType(LossScaler.__module__)
    module.LossScaler = LossScaler
    with monkeypatch.context() as patched:
        for parent in ("deepspeed", "deepspeed.runtime", "deepspeed.runtime.fp16"):
            patched.setitem(sys.modules, parent, ModuleType(parent))
        patched.setitem(sys.modules, LossScaler.__module__, module)
        path = write(tmp_path / "last.pth", {"scaler": LossScaler(), "model": state})
    read = read_checkpoint(path).content
    assert type(read["scaler"]) is not LossScaler
    assert not vars(read["scaler"])
    torch.testing.assert_close(read["model"], state)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before 1.6"])
def test_a_pickle_that_wants_to_run_code_is_refused_and_not_run(tmp_path, new):
    command = f"touch {tmp_path / 'harm'}"
    path = write(tmp_path / "bad.pth", {"x": Harmful(command)}, _use_new_zipfile_serialization=new)
    with pytest.raises(ArtifactError, match=r"wants to run '\w+.system'.*nothing was run"):
        read_checkpoint(path)
    assert not (tmp_path / "harm").exists()


def test_truncated_and_other_files_are_named_with_their_size(tmp_path, state):
    whole = write(tmp_path / "last.pth", state).read_bytes()
    cut = tmp_path / "cut.pth"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match=rf"\({len(whole) // 2:,} bytes\) is truncated"):
        read_checkpoint(cut)
    (tmp_path / "text.pth").write_text("<html>Not Found</html>")
    with pytest.raises(ArtifactError, match="not a PyTorch file"):
        read_checkpoint(tmp_path / "text.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(ArtifactError, match="not a safetensors file"):
        read_checkpoint(tmp_path / "cut.safetensors")


def test_what_is_not_there_or_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="does not exist"):
        read_checkpoint(tmp_path / "nowhere.pth")
    with pytest.raises(ArtifactError, match="no DeepSpeed ZeRO checkpoint"):
        read_checkpoint(tmp_path)
    with pytest.raises(ArtifactError, match="holds a list"):
        read_checkpoint(write(tmp_path / "list.pth", [1, 2]))
