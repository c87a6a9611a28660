import numpy as np

from mindeye2.data.rows import JoinedRows
from mindeye2.data.source_dataset import Rows


class Untouchable:
    shape = (4, 3)

    def __len__(self):
        return 4

    def __getitem__(self, rows):
        raise AssertionError("read without need")


def test_parts_are_read_as_one_array():
    parts = [np.arange(n * 3, dtype=np.float32).reshape(n, 3) + 100 * n for n in (2, 1, 4)]
    whole, joined = np.concatenate(parts), JoinedRows(parts)
    assert isinstance(joined, Rows)
    assert (joined.shape, len(joined)) == ((7, 3), 7)
    for rows in (slice(None), slice(1, 4), slice(2, 3), np.array([0, 2, 6]), slice(0, 0)):
        np.testing.assert_array_equal(joined[rows], whole[rows])


def test_a_part_that_is_not_asked_for_is_not_read():
    joined = JoinedRows([np.ones((2, 3)), Untouchable()])
    assert joined[:2].dtype == np.float32
    assert joined.shape == (6, 3)
