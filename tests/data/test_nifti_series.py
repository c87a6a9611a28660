import gzip

import nibabel as nib
import numpy as np
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.nifti_series import open_series, read_series, reporting_damage


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize("kind", ["<i2", ">f4", "<f8"])
def test_chosen_voxels_of_chosen_volumes_are_those_that_nibabel_reads(tmp_path, ending, kind):
    rng = np.random.default_rng(0)
    values = rng.integers(-900, 900, (4, 3, 5, 6)).astype(kind)
    image = nib.Nifti1Image(values, np.eye(4))
    path = tmp_path / f"x.{ending}"
    nib.save(image, path)
    ijk = np.argwhere(rng.random((4, 3, 5)) < 0.3)
    found = read_series(path, ijk, volumes=np.array([0, 2, 5]))
    np.testing.assert_array_equal(found, values[(*ijk.T,)][:, [0, 2, 5]].T)
    assert read_series(path, ijk, volumes=np.array([], np.int64)).shape == (0, len(ijk))


def test_volumes_before_the_end_of_a_cut_off_file_can_be_read(tmp_path):
    path = tmp_path / "x.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 3), "f4"), np.eye(4)), path)
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[: 352 + 2 * 256 + 8]))
    ijk = np.zeros((1, 3), np.int64)
    assert read_series(path, ijk, volumes=np.array([1])).shape == (1, 1)
    with pytest.raises(EOFError, match=r"it ends in volume 2 of 3"):
        read_series(path, ijk, volumes=np.array([2]))


def test_what_is_no_series_is_named(tmp_path):
    path = tmp_path / "x.nii"
    path.write_bytes(b"nothing")
    message = r"x\.nii \(7 bytes\) is damaged or was not downloaded to its end"
    with pytest.raises(ArtifactError, match=message), reporting_damage(path):
        open_series(path)
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2)), np.eye(4)), path)
    with pytest.raises(ValueError, match=r"it has 3 axes"):
        open_series(path)
