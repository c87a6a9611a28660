import numpy as np

from mindeye2.core.finite import describe_nonfinite


def test_nonfinite_values_are_counted_and_the_first_is_located():
    bad = np.zeros((4, 6), bool)
    bad[2, [3, 5]] = bad[3, 3] = True
    assert describe_nonfinite(bad) == (
        "3 NaN or infinite values in 2 of 4 trials and 2 of 6 voxels, the first in trial row 2, "
        "voxel 3 (counted from 0)"
    )
    assert "row 102, voxel 3" in describe_nonfinite(bad, rows=np.arange(100, 104))
