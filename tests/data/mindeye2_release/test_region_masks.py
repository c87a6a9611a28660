import h5py
import numpy as np
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.mindeye2_release.region_masks import read_region_masks

NAMES = ("nsd_general", "V1", "V2", "V3", "V4", "higher_vis")


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "masks.hdf5", "w") as file:
        for i, name in enumerate(NAMES):
            file[f"subj01/{name}"] = np.arange(12) % 6 == i
    return tmp_path / "masks.hdf5"


def test_each_region_is_a_mask_of_voxels(path):
    masks = read_region_masks(path, subject="subj01", n_voxels=12)
    assert {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()} == {
        name: [i, i + 6] for i, name in enumerate(NAMES)
    }


def test_other_subjects_voxels_and_files_are_refused(path, tmp_path):
    with pytest.raises(ArtifactError, match=r"masks of \['subj01'\], not of subj02"):
        read_region_masks(path, subject="subj02", n_voxels=12)
    with pytest.raises(ArtifactError, match=r"\[\(12,\)\] for subj01, the data set 13 voxels"):
        read_region_masks(path, subject="subj01", n_voxels=13)
    (tmp_path / "cut.hdf5").write_bytes(b"no")
    with pytest.raises(ArtifactError, match=r"cut\.hdf5 cannot be read"):
        read_region_masks(tmp_path / "cut.hdf5", subject="subj01", n_voxels=12)
