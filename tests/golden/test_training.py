"""The released training loop, step by step; see README.md beside this file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mindeye2.core.settings import load_settings
from mindeye2.recipes import TRAINING
from mindeye2.released import export_mindeye, load_mindeye
from mindeye2.training.brain_training import replay
from mindeye2.training.mixing import Mix

HERE = Path(__file__).parent
SUBJECTS = ("subj01", "subj02")

# The released mixer blocks only add a constant (mindeye2.models.backbone.ReleasedMixer), so the
# gradient of all that lies before the last LayerNorm of width 1 is zero but for rounding, which
# Adam enlarges to steps of full size. They differ from themselves with another number of threads.
WITHOUT_GRADIENT = ("backbone.mixer_blocks1.", "backbone.mixer_blocks2.")


@pytest.fixture(scope="module")
def case():
    with np.load(HERE / "training.npz") as arrays:
        return json.loads((HERE / "training.json").read_text()), dict(arrays)


@pytest.fixture(scope="module")
def replayed(case, fill):
    """Return the trace of 12 steps, and each weight's change under its released name."""
    meta, arrays = case
    shapes = meta["state_dict"]
    constant = [k for k in shapes if k.endswith("freqs") or "noise_scheduler" in k]
    model = load_mindeye(fill(shapes, keep=constant), subjects=list(SUBJECTS)).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    before = {k: v.detach().clone() for k, v in export_mindeye(model).items()}
    schedule = meta["training"]
    lengths = [f"{k}={schedule[k]}" for k in ("epochs", "steps_per_epoch")]
    settings = load_settings(TRAINING["released"](), assignments=lengths)
    n_steps = schedule["epochs"] * schedule["steps_per_epoch"]
    trace = replay(model, settings, [batch_of(arrays, step) for step in range(n_steps)])
    return trace, {k: v - before[k] for k, v in export_mindeye(model).items()}


def batch_of(arrays, step):
    read = lambda name: torch.from_numpy(arrays[f"step{step}_{name}"])  # noqa: E731
    images = read("images").flatten()
    names = ("permutation", "weights", "selected")
    stored = ("perm", "weight", "selected")
    mix = None
    if arrays["trace_mixing"][step]:
        mix = {
            s: Mix(**{n: read(f"{a}_{i}") for n, a in zip(names, stored, strict=True)})
            for i, s in enumerate(SUBJECTS)
        }
    targets = ("tokens", "latents", "maps", "maps_augmented")
    return {
        "betas": {s: read(f"betas_{i}").float() for i, s in enumerate(SUBJECTS)},
        "mix": mix,
        **{n: torch.from_numpy(arrays[f"image_pool_{n}"]).float()[images] for n in targets},
        "prior_times": read("prior_times"),
        "prior_noise": read("prior_noise").float(),
    }


@pytest.mark.parametrize(
    "name", ["loss", "prior", "contrastive", "lowlevel", "maps", "lr", "grad_norm"]
)
def test_every_step_gives_the_released_numbers(case, replayed, name):
    """Of mixed and unmixed steps, with the prior end to end and the schedule by epoch."""
    got = [entry[name] for entry in replayed[0]]
    np.testing.assert_allclose(got, case[1][f"trace_{name}"], rtol=2e-5)


def test_every_weight_changes_as_much_as_in_the_released_training(case, replayed):
    compared = 0
    for key, values in case[1].items():
        name = key.removeprefix("change/")
        if key != name and not name.startswith(WITHOUT_GRADIENT):
            moved = float(replayed[1][name].norm())
            assert moved == pytest.approx(float(values[0]), rel=0.02, abs=2e-5), name
            compared += 1
    assert compared > 100
