import numpy as np
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.mindeye2_release.release_arrays import (
    PublishedBetas,
    PublishedImages,
    check_array,
)


@pytest.fixture
def write(tmp_path):
    """Return what writes one array and gives its file."""
    h5py = pytest.importorskip("h5py")

    def write(name, values):
        with h5py.File(tmp_path / f"{name}.hdf5", "w") as file:
            file[name] = values
        return tmp_path / f"{name}.hdf5"

    return write


def test_rows_are_those_that_trials_name(write):
    values = np.arange(60, dtype=np.float32).reshape(20, 3)
    betas = PublishedBetas(path=write("betas", values), rows=np.array([2, 3, 9, 17]), n_voxels=3)
    assert betas.shape == (4, 3)
    np.testing.assert_array_equal(betas[:], values[[2, 3, 9, 17]])
    np.testing.assert_array_equal(betas[np.array([1, 3])], values[[3, 17]])
    assert betas[2:2].shape == (0, 3)


def test_images_become_8_bit_and_rows_of_pixels(write):
    values = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 5))
    path = write("images", (values / 255).astype(np.float16))
    images = PublishedImages(path=path, ids=np.array([1, 3]), size=5)
    np.testing.assert_array_equal(images[:], values[[1, 3]].transpose(0, 2, 3, 1))


@pytest.mark.parametrize("value", [-0.1, 1.5, np.nan])
def test_images_outside_0_and_1_are_refused(write, value):
    values = np.full((2, 3, 5, 5), 0.5, np.float16)
    values[1, 0, 0, 0] = value
    images = PublishedImages(path=write("images", values), ids=np.array([0, 1]), size=5)
    assert images[:1].max() == 128
    with pytest.raises(ArtifactError, match=r"image 1 of .*published values lie in \[0, 1\]"):
        images[1:]


def test_arrays_of_another_shape_or_type_are_refused(write):
    path = write("betas", np.zeros((4, 3, 2), np.float32))
    with pytest.raises(
        ArtifactError, match=r"shape \(4, 3, 2\) .*it must be \(any, any\) of float"
    ):
        check_array(path, "betas", shape=(None, None))
    path = write("images", np.zeros((4, 3, 2, 2), np.uint8))
    with pytest.raises(ArtifactError, match=r"type uint8; it must be \(any, 3, any, any\)"):
        check_array(path, "images", shape=(None, 3, None, None))


def test_a_download_that_stopped_is_named(write):
    path = write("betas", np.zeros((400, 3), np.float32))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ArtifactError, match=r"betas\.hdf5 \(\d+ bytes\) is damaged"):
        check_array(path, "betas", shape=(None, None))
