"""Trials of a training: a cluster of similar images left out of all of its subjects."""

import numpy as np
import pandas as pd
import pytest
import torch

from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.data.image_clusters import image_clusters
from mindeye2.data.prepared import open_prepared
from mindeye2.stages.train.adapt import AdaptTraining
from mindeye2.stages.train.shared_subject import SharedTraining
from mindeye2.stages.train.training_trials import training_trials
from mindeye2.training.trials import TargetBank

N_IMAGES = 60


@pytest.fixture
def prepared(tmp_path):
    """Two subjects that saw every image twice."""
    trials = pd.DataFrame(
        [
            {"subject": s, "session": 1, "image": i, "split": "train"}
            for s in ("subj01", "subj02")
            for i in [*range(N_IMAGES), *range(N_IMAGES)]
        ]
    )
    trials.to_parquet(tmp_path / "trials.parquet")
    np.save(tmp_path / "images.npy", np.zeros((N_IMAGES, 4, 4, 3), np.uint8))
    (tmp_path / "betas").mkdir()
    for subject in ("subj01", "subj02"):
        np.save(tmp_path / "betas" / f"{subject}.npy", np.zeros((2 * N_IMAGES, 3), np.float16))
    write_manifest(tmp_path, stage="prepare", config={}, subjects={"subj01": 3, "subj02": 3})
    return open_prepared(tmp_path)


@pytest.fixture
def tokens(rng):
    """Five kinds of images far from each other, of 20, 15, 12, 8 and 5 images."""
    kind = np.repeat(np.arange(5), [20, 15, 12, 8, 5])
    centres = 10 * torch.eye(5, 6)[torch.from_numpy(kind)]
    noise = 0.1 * torch.randn(N_IMAGES, 2, 6, generator=rng)
    return TargetBank((centres[:, None] + noise).numpy().astype(np.float16))


def test_the_images_of_a_cluster_are_left_out_of_every_subject(prepared, tokens):
    bank, kind = tokens, image_clusters(tokens.values)
    for cluster in range(5):
        trials = training_trials(SharedTraining(leave_out_cluster=cluster), prepared, tokens=bank)
        left = [i for i in range(N_IMAGES) if kind[i] != cluster]
        assert [t.images.unique().tolist() for t in trials.values()] == [left, left]
    assert len(set(kind)) == 5


def test_without_a_cluster_all_trials_are_used(prepared, tokens):
    trials = training_trials(
        AdaptTraining(subject="subj02", train_on=("train",)), prepared, tokens=tokens
    )
    assert {s: len(t) for s, t in trials.items()} == {"subj02": 2 * N_IMAGES}


def test_too_few_remaining_trials_are_refused(prepared, tokens):
    first = int(image_clusters(tokens.values)[0])
    message = rf"leave_out_cluster={first} leaves \d+ of 20 trials of subj01"
    with pytest.raises(ArtifactError, match=message):
        training_trials(
            SharedTraining(leave_out_cluster=first, n_trials=20), prepared, tokens=tokens
        )
