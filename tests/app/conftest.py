import numpy as np
import pandas as pd
import pytest

from mindeye2 import Decoder
from mindeye2.core.artifacts import write_manifest
from mindeye2.stages.reconstruct import ReconstructSettings


@pytest.fixture(scope="session")
def shown(untrained_run):
    """Return the decoder behind the page."""
    return Decoder.from_run(
        untrained_run, decoder=untrained_run, settings=ReconstructSettings(), device="cpu"
    )


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Return a data set of four test images with two repeats of one subject."""
    folder = tmp_path_factory.mktemp("prepared-data")
    (folder / "betas").mkdir()
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 256, (6, 64, 64, 3), np.uint8))
    np.save(folder / "betas" / "subj01.npy", rng.normal(size=(12, 30)).astype(np.float16))
    split = ["train", "test", "test", "test", "test", "train"] * 2
    trials = pd.DataFrame({"subject": "subj01", "image": [*range(6)] * 2, "split": split})
    trials.to_parquet(folder / "trials.parquet")
    write_manifest(folder, stage="prepare", config={}, subjects={"subj01": 30})
    return folder
