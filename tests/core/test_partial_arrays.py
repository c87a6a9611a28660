import errno

import numpy as np
import pytest

from mindeye2.core import partial_arrays
from mindeye2.core.partial_arrays import PartialArrays


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)


def begun(folder, **key):
    partial = PartialArrays(folder, n_rows=7, batch_size=2)
    partial.begin(key)
    return partial


def test_batches_are_divided_and_written_in_any_order(tmp_path, values):
    partial = begun(tmp_path)
    shares = [partial.missing(rank=rank, world_size=3) for rank in range(3)]
    assert [len(rows) for rows in shares] == [2, 1, 1]
    for rows in [rows for own in reversed(shares) for rows in own]:
        partial.write(rows, {"a": values[rows], "state/b": values[rows, 0]}, note=rows.start)
    assert partial.missing() == []
    assert partial.notes() == [0, 2, 4, 6]
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), values)
    np.testing.assert_array_equal(np.load(tmp_path / "state" / "b.npy"), values[:, 0])
    partial.remove_state()
    assert [p.name for p in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("kept", [True, False])
def test_batches_count_for_the_same_key_while_their_arrays_are_there(tmp_path, values, kept):
    first = begun(tmp_path, model="one")
    first.write(slice(2, 4), {"a": values[2:4]})
    assert len(begun(tmp_path, model="one").missing()) == 3
    if kept:
        assert len(begun(tmp_path, model="two").missing()) == 4
    else:
        (tmp_path / "a.npy").unlink()
        assert len(begun(tmp_path, model="one").missing()) == 4


def test_a_batch_that_does_not_fit_the_disk_does_not_count(tmp_path, values, monkeypatch):
    partial = begun(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(partial_arrays.os, "pwrite", full)
        with pytest.raises(OSError, match="No space left"):
            partial.write(slice(0, 2), {"a": values[:2]})
    assert len(partial.missing()) == 4


def test_a_system_that_takes_a_byte_at_a_time_gets_them_all(tmp_path, values, monkeypatch):
    partial, write = begun(tmp_path), partial_arrays.os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(partial_arrays.os, "pwrite", lambda f, data, at: write(f, data[:1], at))
        for rows in partial.missing():
            partial.write(rows, {"a": values[rows]})
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), values)
