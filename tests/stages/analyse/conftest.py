"""The small world of the stages' tests, with responses of a known origin."""

import shutil

import numpy as np
import pytest
import torch

from mindeye2.stages.analyse import Steps
from mindeye2.stages.analyse.analysis import AnalysisJob


@pytest.fixture
def planted(home, decoded, tmp_path):
    """Return a function that copies the world with betas of subj03 computed by image.

    It is given five standardised PCA scores of the tokens of each trial's image, and the voxels.
    """
    assert decoded.exists()

    def _planted(respond):
        world = tmp_path / "world"
        for name in ("data", "decoded", "adapted", "decoder"):
            if (home / name).exists():
                shutil.copytree(home / name, world / name)
        from mindeye2.data.prepared import open_prepared

        data = open_prepared(world / "data")
        shown = data.trials_of("subj03")["image"].to_numpy()
        tokens = data.targets("lite0").reshape(len(data.images), -1).astype(np.float64)
        scores = np.linalg.svd(tokens - tokens.mean(axis=0), full_matrices=False)[0][:, :5]
        scores /= scores.std(axis=0)
        path = world / "data" / "betas" / "subj03.npy"
        betas = respond(scores[shown], data.voxels("subj03"))
        np.save(path, betas.astype(np.float16))
        return world

    return _planted


@pytest.fixture
def job(tmp_path):
    """Return a function that makes the job of one analysis."""
    from mindeye2.models.checkpoint import load_run

    def unused(*_):
        raise AssertionError("this step is not for this analysis")

    def _job(source, *, reads="reconstruct", init=None, **steps):
        (tmp_path / "out").mkdir(exist_ok=True)
        given = {"load_run": load_run, "decode": unused, "fit_and_score": unused, **steps}
        return AnalysisJob(
            source, None, tmp_path / "out", torch.device("cpu"), Steps(**given), reads, init
        )

    return _job
