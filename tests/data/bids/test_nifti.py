import nibabel as nib
import numpy as np
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.bids.nifti import find_above, load_mask, load_volume, voxel_table


@pytest.fixture
def save(tmp_path):
    """Return a function that writes a volume."""

    def write(name, values):
        image = nib.Nifti1Image(np.asarray(values, np.float32), np.eye(4))
        nib.save(image, tmp_path / name)
        return tmp_path / name

    return write


def test_only_what_is_above_0_is_inside(save):
    volume = np.zeros((2, 3, 4))
    volume[0, 1, 2], volume[1, 0, 0] = 1, -1
    mask = load_mask(save("mask.nii.gz", volume))
    assert np.argwhere(mask).tolist() == [[0, 1, 2]]


def test_voxels_come_in_the_order_of_a_masked_volume(save):
    volume = np.arange(24).reshape(2, 3, 4)
    mask = volume % 5 == 0
    table = voxel_table(mask, rois={"area": save("area.nii", volume)})
    assert table["area"].tolist() == volume[mask].tolist()
    indices = table[["i", "j", "k"]].to_numpy()
    assert [volume[tuple(index)] for index in indices] == volume[mask].tolist()


def test_a_region_on_another_grid_is_refused(save):
    with pytest.raises(
        ArtifactError, match=r"'V1' in .*\(2, 2, 2\), but the mask has \(2, 2, 3\)"
    ):
        voxel_table(np.ones((2, 2, 3), bool), rois={"V1": save("v1.nii", np.ones((2, 2, 2)))})


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"no image" * 100, "damaged or no NIfTI file")],
)
def test_a_file_that_is_no_volume_is_named(tmp_path, content, message):
    path = tmp_path / "mask.nii"
    if content:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"the mask .*mask\.nii .*{message}|{message}"):
        load_mask(path)


def test_shapes_and_emptiness_are_checked(save):
    assert load_volume(save("a.nii", np.ones((2, 2, 2, 1))), purpose="it").shape == (2, 2, 2)
    with pytest.raises(ArtifactError, match=r"shape \(2, 2, 2, 3\); one volume of three axes"):
        load_volume(save("b.nii", np.ones((2, 2, 2, 3))), purpose="it")
    with pytest.raises(ArtifactError, match=r"c\.nii is empty: no value is above 0"):
        load_mask(save("c.nii", np.zeros((2, 2, 2))))


def test_the_nearest_file_above_is_found(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "mask.nii").touch()
    assert find_above(("mask.nii.gz", "mask.nii"), start=inner, stop=tmp_path) == (
        tmp_path / "mask.nii"
    )
    (tmp_path / "a" / "mask.nii.gz").touch()
    found = find_above(("mask.nii.gz", "mask.nii"), start=inner, stop=tmp_path)
    assert found == tmp_path / "a" / "mask.nii.gz"
    assert find_above(("mask.nii",), start=inner, stop=tmp_path / "a") is None
