import numpy as np
import pytest

from mindeye2.data.things_fmri import things_responses
from mindeye2.data.things_fmri.things_responses import TableBetas, find_block


def test_a_file_that_pandas_wrote_is_read_like_pandas_reads_it(tmp_path):
    """PyTables is no dependency: where it is installed, it is the reference."""
    pytest.importorskip("tables")
    import pandas as pd

    table = pd.DataFrame(np.random.default_rng(0).normal(size=(7, 5)))
    table.insert(0, "voxel_id", np.arange(7))
    path = tmp_path / "x.h5"
    with pytest.warns(pd.errors.PerformanceWarning):
        table.to_hdf(path, key="ResponseData")
    block = find_block(path, shape=(7, 5))
    betas = TableBetas(path=path, block=block, voxels=np.array([1, 6]), n_trials=5)
    expected = pd.read_hdf(path).drop(columns="voxel_id").to_numpy()[[1, 6]].T
    np.testing.assert_array_equal(betas[:], expected.astype("f4"))


def test_the_size_of_blocks_changes_nothing(things, monkeypatch):
    path, own = things.folder / "sub-01_ResponseData.h5", things.subjects["sub-01"]
    block = find_block(path, shape=own.values.shape)
    assert block == "ResponseData/block0_values"
    voxels = np.array([0, 4, 5, 17, 29])
    betas = TableBetas(path=path, block=block, voxels=voxels, n_trials=48)
    monkeypatch.setattr(things_responses, "_BLOCK", 100)
    np.testing.assert_array_equal(betas[10:20], own.values[voxels, 10:20].T.astype("f4"))
    assert betas[:0].shape == (0, 5)
