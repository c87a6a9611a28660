"""What is saved of a training; how a run goes on with it is tested with the loop."""

import json
import shutil
from concurrent.futures import Future

import pytest
import torch
from torch import nn

from mindeye2.core.errors import ArtifactError
from mindeye2.training.distributed import Shard
from mindeye2.training.state import TrainingState


def trained(seed):
    """Return a layer after one step of AdamW, its parameters and the optimiser."""
    rng = torch.Generator().manual_seed(seed)
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn(p.shape, generator=rng))
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    layer(torch.randn(5, 3, generator=rng)).square().mean().backward()
    optimizer.step()
    return layer, optimizer


def state_of(folder, seed):
    layer, optimizer = trained(seed)
    trainable = dict(layer.named_parameters())
    return TrainingState(folder, layer, trainable=trainable, optimizer=optimizer, ema=True)


def saved(folder, step, seed=0):
    state = state_of(folder, seed)
    state.save(step)
    state.wait()
    return state


def test_weights_moments_and_averages_come_back(tmp_path):
    first, second = state_of(tmp_path, 0), state_of(tmp_path, 1)
    first.average(0.5, 0)
    first.save(1)
    first.wait()
    assert second.load() == 1
    for name, parameter in first.trainable.items():
        other = second.trainable[name]
        assert torch.equal(parameter, other)
        assert torch.equal(first.ema[name], second.ema[name])
        moments, loaded = first.optimizer.state[parameter], second.optimizer.state[other]
        assert {*moments} == {*loaded}
        assert all(torch.equal(moments[key], loaded[key]) for key in moments)


def test_nothing_saved_is_step_0(tmp_path):
    state = state_of(tmp_path, 0)
    before = [p.clone() for p in state.trainable.values()]
    assert state.load() == 0
    assert all(map(torch.equal, before, state.trainable.values()))


def test_a_state_that_is_not_whole_is_not_read(tmp_path):
    """As a kill leaves one that was being written."""
    saved(tmp_path, 1)
    cut = shutil.copytree(tmp_path / "state/00000001", tmp_path / "state/00000002")
    (cut / ".metadata").unlink()
    assert state_of(tmp_path, 1).load() == 1
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["00000001"]


def test_the_last_state_is_kept_until_the_next_is_whole(tmp_path, monkeypatch):
    state, writing = saved(tmp_path, 1), Future()
    with monkeypatch.context() as patch:
        patch.setattr(
            "torch.distributed.checkpoint.state_dict_saver.async_save", lambda *_, **__: writing
        )
        state.save(2)
    state.poll()
    assert (tmp_path / "state/00000001/.metadata").exists()
    writing.set_exception(OSError("gone"))
    with pytest.raises(ArtifactError, match=r"after step 2 could not be written.*untouched"):
        state.poll()
    assert state_of(tmp_path, 1).load() == 1
    saved(tmp_path, 3)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["00000003"]
    facts = json.loads((tmp_path / "state/00000003/progress.json").read_text())
    assert facts == {"step": 3, "torch": torch.__version__}


def test_what_is_saved_is_what_was_when_saving_began(tmp_path):
    state = state_of(tmp_path, 0)
    before = state.trainable["weight"].clone()
    state.save(1)
    with torch.no_grad():
        state.trainable["weight"].zero_()
    state.wait()
    other = state_of(tmp_path, 1)
    other.load()
    assert torch.equal(other.trainable["weight"], before)


def test_ranks_that_hold_the_same_tensors_each_write_a_part(tmp_path, monkeypatch):
    """Only what a rank writes is copied to its host memory."""
    state, written = state_of(tmp_path, 0), []
    for rank in range(2):
        shard = Shard(rank=rank, world_size=2)
        with monkeypatch.context() as patch:
            patch.setattr("mindeye2.training.state.current_shard", lambda shard=shard: shard)
            patch.setattr(
                "torch.distributed.checkpoint.state_dict_saver.async_save",
                lambda tensors, **_: written.append(tensors) or Future(),
            )
            state.save(1)
        state._saving = None
    first, second = written
    assert not {*first} & {*second}
    assert {*first} | {*second} == {*state._tensors()}
    sizes = [sum(t.numel() for t in tensors.values()) for tensors in written]
    assert max(sizes) - min(sizes) <= max(t.numel() for t in state._tensors().values())


def test_a_damaged_state_is_refused(tmp_path):
    saved(tmp_path, 1)
    for name, message in (("__0_0.distcp", "damaged, or of another"), (".metadata", "saved by 2")):
        (tmp_path / "state/00000001" / name).write_bytes(b"nothing")
        with pytest.raises(ArtifactError, match=rf"00000001 cannot be read.*{message}"):
            state_of(tmp_path, 1).load()


def test_the_state_of_an_earlier_version_is_refused(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state/state.safetensors").touch()
    with pytest.raises(ArtifactError, match=r"by an earlier version\. Give another --out"):
        state_of(tmp_path, 0).load()


def test_the_scale_of_the_loss_comes_back(tmp_path):
    first, second = state_of(tmp_path, 0), state_of(tmp_path, 1)
    first.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    second.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    first.save(1)
    first.wait()
    second.load()
    assert second.scaler.get_scale() == 8.0


def test_averages_are_in_place_for_a_block_only(tmp_path):
    state = state_of(tmp_path, 0)
    before = state.trainable["bias"].clone()
    with torch.no_grad():
        state.trainable["bias"].mul_(2)
    with state.in_place():
        assert torch.equal(state.trainable["bias"], before)
    assert torch.equal(state.trainable["bias"], 2 * before)


@pytest.mark.parametrize(
    ("other", "name"),
    [(nn.Linear(4, 2), "weight"), (nn.Linear(3, 2, bias=False), "bias"), (nn.PReLU(), "bias")],
)
def test_the_state_of_another_model_is_refused(tmp_path, other, name):
    saved(tmp_path, 1)
    optimizer, trainable = torch.optim.AdamW(other.parameters()), dict(other.named_parameters())
    state = TrainingState(tmp_path, other, trainable=trainable, optimizer=optimizer, ema=True)
    with pytest.raises(ArtifactError, match=rf"is of another model.*{name}.*another --out"):
        state.load()
