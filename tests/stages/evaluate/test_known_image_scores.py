"""Identification of known images against a loop over trials."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from mindeye2.core.tensors import save_tensors
from mindeye2.data.prepared import Prepared
from mindeye2.stages.evaluate.decoded import Decoded
from mindeye2.stages.evaluate.known_image_scores import known_image_scores, open_known_images

N_KNOWN, KNOWN = 6, [11, 4, 7, 20, 3, 9]


class Fake(Decoded):
    """Reconstructions whose manifest and items are given."""

    manifest = {"training_images": KNOWN}  # noqa: RUF012
    items = pd.DataFrame({"image": [3, 7, 20]})


@pytest.fixture
def decoded(tmp_path):
    """Return 3 of 6 known images in 4 test trials each, tokens with an offset that all share."""
    rng = torch.Generator().manual_seed(0)
    true = torch.randn(N_KNOWN, 2, 5, generator=rng)
    offset = 2 * torch.randn(2, 5, generator=rng)
    shown = torch.tensor([3, 7, 20]).repeat(4)
    rows = torch.tensor([KNOWN.index(int(i)) for i in shown])
    trial = true[rows] + offset + 1.5 * torch.randn(12, 2, 5, generator=rng)
    tokens = {
        "true": true[[KNOWN.index(i) for i in (3, 7, 20)]],
        "backbone": torch.stack([trial[shown == i].mean(dim=0) for i in (3, 7, 20)]),
        "trial_backbone": trial,
        "training_backbone": true + offset,
        "training_true": true,
    }
    save_tensors({k: v.contiguous() for k, v in tokens.items()}, tmp_path / "tokens.safetensors")
    pd.DataFrame({"image": shown.numpy()}).to_parquet(tmp_path / "trials.parquet")
    return Fake(tmp_path, Prepared(folder=tmp_path, manifest={})), {
        k: v.numpy() for k, v in tokens.items()
    }


def nearest(tokens, row):
    """Return the known image whose centred tokens have the largest cosine with one trial's."""
    pred = (row - tokens["training_backbone"].mean(axis=0)).ravel()
    true = (tokens["training_true"] - tokens["training_true"].mean(axis=0)).reshape(N_KNOWN, -1)
    return KNOWN[int(np.argmax(true @ pred / np.linalg.norm(true, axis=1)))]


def test_single_and_averaged_trials_are_identified_among_all_known_images(decoded):
    folder, tokens = decoded
    found = known_image_scores(folder)
    single = [nearest(tokens, row) for row in tokens["trial_backbone"]]
    hits = np.array([s == i for s, i in zip(single, [3, 7, 20] * 4, strict=True)], float)
    assert 1 / 6 < hits.mean() < 1
    np.testing.assert_allclose(
        found.values["known_image_single"], hits.reshape(4, 3).mean(axis=0), rtol=1e-6
    )
    averaged = [nearest(tokens, row) for row in tokens["backbone"]]
    assert found.values["known_image"].tolist() == [
        float(a == i) for a, i in zip(averaged, (3, 7, 20), strict=True)
    ]
    assert found.chances == dict.fromkeys(("known_image", "known_image_single"), 1 / 6)
    ends = found.intervals["known_image_single"]
    assert ends.low < hits.mean() < ends.high
    assert ends.high - ends.low < 1 - found.intervals["known_image"].low


def test_the_target_is_the_column_of_the_seen_image(decoded):
    known = open_known_images(decoded[0])
    assert [KNOWN[c] for c in known.target] == [3, 7, 20]


def test_without_tokens_it_is_said_that_they_are_missing(tmp_path):
    found = known_image_scores(Fake(tmp_path, Prepared(folder=tmp_path, manifest={})))
    assert json.dumps(found.missing).count("Identification of known images") == 1
