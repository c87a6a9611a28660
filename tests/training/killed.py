"""Kills a training again and again, for `test_loop.py`: one import, then a fork for every try."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from torch import nn

from mindeye2.training.loop import OptimizerSettings, fit

STEPS = 40


def build():
    rng = torch.Generator().manual_seed(3)
    module = nn.Sequential(nn.Linear(6, 300), nn.Dropout(0.3), nn.Linear(300, 2))
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) / 3)
    return Loss(module)


class Loss(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return {"loss": (self.module(x) - x[:, :2]).square().mean()}


def batch_of(step):
    return {"x": torch.randn(16, 6, generator=torch.Generator().manual_seed(step))}


def train(folder):
    """Train, with a state as often as they can be written; save the weights at the end."""
    folder.mkdir(exist_ok=True)
    module = build()
    settings = OptimizerSettings(
        steps=STEPS, max_lr=1e-2, save_minutes=1e-9, ema_decay=0.9, trackers=()
    )
    fit(module, batch_of, settings=settings, seed=0, folder=folder, device=torch.device("cpu"))
    torch.save(module.state_dict(), folder / "weights.pt")


def forked(folder):
    child = os.fork()
    if child == 0:
        try:
            train(folder)
        except BaseException as error:  # noqa: BLE001 - the parent reports it
            sys.stderr.write(repr(error))
            os._exit(1)
        os._exit(0)
    return child


def main(home, kills):
    began = time.monotonic()
    assert os.waitpid(forked(home / "whole"), 0)[1] == 0
    length, rng, killed = time.monotonic() - began, random.Random(0), 0
    for _attempt in range(kills):
        # So late that steps were taken, so early that some are left for the kills to come.
        child = forked(home / "killed")
        time.sleep(rng.uniform(0.3, 1.5) * length / kills)
        os.kill(child, signal.SIGKILL)
        killed += os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    status = os.waitpid(forked(home / "killed"), 0)[1]
    assert status == 0, status
    whole, resumed = (torch.load(home / name / "weights.pt") for name in ("whole", "killed"))
    equal = all(torch.equal(whole[name], resumed[name]) for name in whole)
    states = len([*(home / "killed/state").iterdir()])
    print(json.dumps({"killed": killed, "equal": equal, "states": states, "steps": STEPS}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
