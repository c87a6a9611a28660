"""Halves of the presentations of test images, in the tiny world."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from mindeye2.stages.evaluate.decoded import Decoded
from mindeye2.stages.evaluate.presentations import decoded_halves, measured_halves


@pytest.fixture
def folder(decoded, prepared):
    return Decoded(decoded, prepared)


def test_halves_of_the_betas_are_every_second_presentation(folder, prepared):
    halves = measured_halves(folder)
    trials, betas = prepared.trials_of("subj03", "test"), prepared.betas("subj03")
    own = trials.index[trials["image"] == 75]
    for half, rows in ((halves.first, own[::2]), (halves.second, own[1::2])):
        want = np.asarray(betas[rows], np.float32).mean(axis=0)
        np.testing.assert_allclose(half[75 - 72], want, rtol=1e-6)
    counts = trials.groupby("image").size().to_numpy()
    assert (halves.n_first + halves.n_second).tolist() == counts.tolist()
    mean = [np.asarray(betas[r], np.float32).mean(axis=0) for r in [own]]
    np.testing.assert_allclose(halves.average()[75 - 72], mean[0], atol=1e-5)


def test_halves_of_the_tokens_are_counted_by_the_presentations(folder):
    halves = decoded_halves(folder)
    assert halves.n_first.tolist() == halves.n_second.tolist() == [1] * 10
    assert not torch.allclose(halves.first, halves.second, atol=1e-2)
    odd = pd.DataFrame({"image": range(72, 82), "n_repeats": [3] * 10})
    object.__setattr__(folder, "items", odd)
    assert (decoded_halves(folder).n_first == 2).all()


def test_a_folder_without_halves_has_none(folder):
    object.__setattr__(folder, "token_names", {"backbone"})
    assert decoded_halves(folder) is None


def test_halves_of_what_is_compared_are_read_where_they_are_stored(folder, tmp_path):
    plain = decoded_halves(folder, whitened=True)
    own = shutil.copytree(folder.folder, tmp_path / "decoded")
    tokens = load_file(own / "tokens.safetensors")
    for i, half in enumerate(("first", "second")):
        tokens[f"{half}_half_backbone_whitened"] = torch.full((10, 3), float(i))
    save_file(tokens, own / "tokens.safetensors")
    other = Decoded(own, folder.prepared)
    halves = decoded_halves(other, whitened=True)
    assert (halves.first.unique().item(), halves.second.unique().item()) == (0, 1)
    assert halves.first.shape == (10, 3)
    assert torch.equal(decoded_halves(other).first, decoded_halves(folder).first)
    stored = "first_half_backbone_whitened" in folder.token_names
    assert torch.equal(plain.first, decoded_halves(folder).first) != stored
