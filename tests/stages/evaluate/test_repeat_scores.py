"""Identification by repeats against NumPy's correlation."""

import numpy as np
import pandas as pd
import pytest

from mindeye2.data.prepared import Prepared
from mindeye2.stages.evaluate.decoded import Decoded
from mindeye2.stages.evaluate.repeat_scores import repeat_scores

N_IMAGES, N_VOXELS = 12, 20


class Fake(Decoded):
    """Reconstructions of images 3 to 14 of subj01."""

    manifest = {"subject": "subj01"}  # noqa: RUF012
    items = pd.DataFrame({"image": range(3, 3 + N_IMAGES)})


@pytest.fixture
def decoded(tmp_path, monkeypatch):
    """Return a function that makes a data set of so many presentations, mixed in order."""

    def make(n_repeats=3, *, noise=2.0):
        rng = np.random.default_rng(0)
        rows = [
            {"subject": "subj01", "split": "test", "image": i, "repeat": r, "session": 1}
            for r in range(n_repeats)
            for i in range(3, 3 + N_IMAGES)
        ]
        trials = pd.DataFrame(rows).sample(frac=1, random_state=1).reset_index(drop=True)
        signal = rng.normal(size=(3 + N_IMAGES, N_VOXELS))
        betas = signal[trials["image"]] + noise * rng.normal(size=(len(trials), N_VOXELS))
        monkeypatch.setattr(Prepared, "trials", trials)
        (tmp_path / "betas").mkdir()
        np.save(tmp_path / "betas" / "subj01.npy", betas.astype(np.float16))
        prepared = Prepared(folder=tmp_path, manifest={"subjects": {"subj01": N_VOXELS}})
        return Fake(tmp_path, prepared), trials, betas.astype(np.float16).astype(np.float32)

    return make


def test_every_second_presentation_is_compared_with_the_others(decoded):
    folder, trials, betas = decoded()
    found = repeat_scores(folder).values
    halves = [
        np.stack(
            [betas[np.flatnonzero(trials["image"] == i)[h::2]].mean(axis=0) for i in folder.images]
        )
        for h in (0, 1)
    ]
    first, second = (h - h.mean(axis=0) for h in halves)
    cosine = first @ second.T / np.linalg.norm(first, axis=1)[:, None]
    cosine /= np.linalg.norm(second, axis=1)
    hits = cosine.argmax(axis=1) == np.arange(N_IMAGES)
    assert 1 / N_IMAGES < hits.mean() < 1
    assert found["repeat_top1"].tolist() == hits.astype(float).tolist()
    correlation = np.corrcoef(first, second)[:N_IMAGES, N_IMAGES:]
    beaten = (correlation < correlation.diagonal()[:, None]).sum(axis=1) / (N_IMAGES - 1)
    np.testing.assert_allclose(found["repeat_two_way"], beaten, atol=1e-6)


def test_without_noise_every_image_is_found(decoded):
    found = repeat_scores(decoded(2, noise=0.0)[0]).values
    assert {name: float(x.mean()) for name, x in found.items()} == {
        "repeat_top1": 1.0,
        "repeat_two_way": 1.0,
    }


def test_images_that_are_shown_once_have_no_such_score(decoded):
    assert repeat_scores(decoded(1)[0]).values == {}


def test_a_data_set_without_betas_has_no_such_score(decoded, tmp_path):
    folder, *_ = decoded()
    (tmp_path / "betas" / "subj01.npy").unlink()
    assert repeat_scores(folder).values == {}
