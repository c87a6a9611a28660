"""Foreign checkpoint files: read without running their code, or refused."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mindeye2.core.errors import ArtifactError
from mindeye2.released.checkpoints import read_checkpoint


class Harmful:
    """Object whose pickle runs a command when it is loaded."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class LossScaler:
    """Object that DeepSpeed saves beside the weights; its real module is not installed."""

    __module__ = "deepspeed.runtime.fp16.loss_scaler"
    __qualname__ = "LossScaler"

    def __init__(self):
        self.cur_scale = 3.0


@pytest.fixture
def state(rng):
    return {"a.weight": torch.randn(3, 2, generator=rng), "a.steps": torch.tensor(7)}


def write(path, content, **options):
    torch.save(content, path, **options)  # the published format, which the package never writes
    return path


def test_a_checkpoint_is_read_memory_mapped(tmp_path, state):
    path = write(tmp_path / "last.pth", {"model_state_dict": state, "epoch": 1})
    read = read_checkpoint(path)["model_state_dict"]
    torch.testing.assert_close(read, state)
    # A change of the file shows in tensors that are mapped, and in no others.
    saved = state["a.weight"].numpy().tobytes()
    content = path.read_bytes()
    assert content.count(saved) == 1
    with path.open("r+b") as file:
        file.seek(content.index(saved))
        file.write(bytes(len(saved)))
    assert not read["a.weight"].any()


def test_old_files_and_safetensors_are_read(tmp_path, state):
    old = write(tmp_path / "old.pth", state, _use_new_zipfile_serialization=False)
    torch.testing.assert_close(read_checkpoint(old), state)
    save_file(state, tmp_path / "new.safetensors")
    torch.testing.assert_close(read_checkpoint(tmp_path / "new.safetensors"), state)


def test_arrays_of_numpy_are_data(tmp_path):
    content = {"mean": np.arange(6.0).reshape(2, 3), "mask": np.array([True]), "n": np.float64(2)}
    read = read_checkpoint(write(tmp_path / "gnet.pt", content))
    np.testing.assert_array_equal(read["mean"], content["mean"])
    assert read["mask"].dtype == bool
    assert read["n"] == 2


def test_bookkeeping_of_other_libraries_becomes_empty_objects(tmp_path, state, monkeypatch):
    import sys
    from types import ModuleType

    module = ModuleType(LossScaler.__module__)
    module.LossScaler = LossScaler
    with monkeypatch.context() as patched:
        for parent in ("deepspeed", "deepspeed.runtime", "deepspeed.runtime.fp16"):
            patched.setitem(sys.modules, parent, ModuleType(parent))
        patched.setitem(sys.modules, LossScaler.__module__, module)
        path = write(tmp_path / "last.pth", {"scaler": LossScaler(), "model": state})
    read = read_checkpoint(path)
    assert type(read["scaler"]) is not LossScaler
    assert not vars(read["scaler"])
    torch.testing.assert_close(read["model"], state)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "before 1.6"])
def test_a_pickle_that_calls_code_is_refused_and_not_run(tmp_path, new):
    command = f"touch {tmp_path / 'harm'}"
    path = write(tmp_path / "bad.pth", {"x": Harmful(command)}, _use_new_zipfile_serialization=new)
    with pytest.raises(ArtifactError, match=r"calls '\w+.system'.*was not run"):
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


def test_missing_files_folders_and_other_content_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match="does not exist"):
        read_checkpoint(tmp_path / "nowhere.pth")
    with pytest.raises(ArtifactError, match=r"is a folder\. Give the checkpoint file itself"):
        read_checkpoint(tmp_path)
    with pytest.raises(ArtifactError, match="holds a list"):
        read_checkpoint(write(tmp_path / "list.pth", [1, 2]))


@pytest.mark.parametrize("given", [".", "last"])
def test_a_deepspeed_folder_is_refused_with_the_command_that_converts_it(tmp_path, given):
    """DeepSpeed puts its script into the folder that holds those of the steps."""
    (tmp_path / "last").mkdir()
    (tmp_path / "last" / "zero_pp_rank_0_mp_rank_00_optim_states.pt").touch()
    command = rf"python {tmp_path}/zero_to_fp32.py {tmp_path} {tmp_path}/fp32'"
    with pytest.raises(ArtifactError, match=f"is a DeepSpeed checkpoint.*{command}"):
        read_checkpoint(tmp_path / given)
