import json
import os
import signal
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mindeye2.core.errors import ArtifactError, InterruptedRun
from mindeye2.training.loop import OptimizerSettings, fit

CPU = torch.device("cpu")


class Regression(nn.Module):
    """A real model with dropout, so that an inexact resume shows."""

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(3)
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.3), nn.Linear(8, 2))
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=rng) / 3)

    def forward(self, x, y):
        return {"loss": (self.layers(x) - y).square().mean()}


def batch_of(step):
    rng = torch.Generator().manual_seed(step)
    x = torch.randn(16, 6, generator=rng)
    return {"x": x, "y": x[:, :2]}


def settings(**changes):
    return OptimizerSettings(**{"steps": 12, "max_lr": 1e-2, "save_minutes": 100, **changes})


def run(module, folder, batches=batch_of, **changes):
    folder.mkdir(exist_ok=True)
    fit(module, batches, settings=settings(**changes), seed=0, folder=folder, device=CPU)
    return module


def interrupted(module, stop, number=signal.SIGTERM):
    """Let a module send this process a signal in its step number `stop`."""
    calls = iter(range(100))
    module.register_forward_pre_hook(
        lambda *_: os.kill(os.getpid(), number) if next(calls) == stop else None
    )
    return module


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_stopped_run_resumes_to_the_same_bits(tmp_path, ema_decay):
    whole = run(Regression(), tmp_path / "whole", ema_decay=ema_decay)
    with pytest.raises(InterruptedRun, match=r"after step 6 of 12.*--resume"):
        run(interrupted(Regression(), 5), tmp_path / "cut", ema_decay=ema_decay)
    resumed = run(Regression(), tmp_path / "cut", ema_decay=ema_decay)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    lines = (tmp_path / "cut/steps.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(12))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_stop_in_the_last_step_is_not_forgotten(tmp_path, number):
    """Or the stage would go on with what comes after this training."""
    with pytest.raises(InterruptedRun, match=r"after step 12 of 12; the state is saved"):
        run(interrupted(Regression(), 11, number), tmp_path / "cut", ema_decay=0.9)
    resumed = run(Regression(), tmp_path / "cut", pytest.fail, ema_decay=0.9)
    whole = run(Regression(), tmp_path / "whole", ema_decay=0.9)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = run(Regression(), tmp_path / "run")
    again = run(Regression(), tmp_path / "run", pytest.fail)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_gradients_are_clipped_only_where_a_norm_is_given(tmp_path):
    clipped, free = Regression(), Regression()
    run(clipped, tmp_path / "clipped", steps=1, max_norm=1e-3)
    run(free, tmp_path / "free", steps=1, max_norm=None)
    norms = [
        json.loads((tmp_path / n / "steps.jsonl").read_text())["grad_norm"]
        for n in ("clipped", "free")
    ]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    assert norms[1] > 1e-3
    assert clipped.layers[0].weight.grad.norm() < 1e-3 < free.layers[0].weight.grad.norm()


def test_a_loss_that_is_not_finite_updates_nothing(tmp_path):
    module = Regression()
    before = [p.clone() for p in module.parameters()]
    poisoned = lambda step: {k: v * float("nan") for k, v in batch_of(step).items()}  # noqa: E731
    with pytest.raises(
        FloatingPointError,
        match=r"loss is nan at step 0 of training \(not finite: loss\); nothing was updated",
    ):
        run(module, tmp_path / "run", poisoned)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def failing(*_args, **_kwargs):
    future = Future()
    future.set_exception(OSError(28, "No space left on device"))
    return future


def test_a_full_disk_keeps_the_state_before(tmp_path, monkeypatch):
    with pytest.raises(InterruptedRun):
        run(interrupted(Regression(), 3), tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("torch.distributed.checkpoint.state_dict_saver.async_save", failing)
        with pytest.raises(ArtifactError, match=r"No space left.*is untouched.*--resume"):
            run(Regression(), tmp_path / "run")
    resumed = run(Regression(), tmp_path / "run")
    whole = run(Regression(), tmp_path / "whole")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_disk_without_space_for_the_next_state_stops_before_its_step(tmp_path, monkeypatch):
    """At the first step, and at each that will be saved."""
    taken = []

    def batches(step):
        taken.append(step)
        return batch_of(step)

    def usage(_folder):
        return SimpleNamespace(free=10**9 if len(taken) < 10 else 100)

    monkeypatch.setattr("mindeye2.training.state.shutil.disk_usage", usage)
    message = r"stopped before step 11, because the next state needs 0 MiB in .*/state, where 0"
    with pytest.raises(ArtifactError, match=message):
        run(Regression(), tmp_path / "run", batches)
    taken[:] = range(12)
    with pytest.raises(ArtifactError, match=r"stopped before step 0, .*Free disk space and run"):
        run(Regression(), tmp_path / "other")


@pytest.mark.parametrize(
    "kills", [pytest.param(5, id="5"), pytest.param(20, id="20", marks=pytest.mark.slow)]
)
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, kills):
    """At random moments: in a step, while a state is written, while an old one is removed."""
    command = [sys.executable, str(Path(__file__).with_name("killed.py")), tmp_path, str(kills)]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert outcome.returncode == 0, outcome.stderr
    facts = json.loads(outcome.stdout)
    assert facts["killed"] == kills
    assert facts["equal"]
    assert facts["states"] == 1
    lines = (tmp_path / "killed/steps.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(facts["steps"]))


def test_frozen_parameters_stay(tmp_path):
    module = Regression()
    module.layers[0].requires_grad_(requires_grad=False)
    frozen = module.layers[0].weight.clone()
    run(module, tmp_path / "run")
    assert torch.equal(frozen, module.layers[0].weight)
