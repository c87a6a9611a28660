import io

import numpy as np
import pytest

from mindeye2.data.uploads import betas_from_upload, gallery_from_upload, parse_npy


def npy(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "<i8", "|u1"])
def test_a_file_is_read_as_numpy_wrote_it(version, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    for order in (array, np.asfortranarray(array)):
        found = parse_npy(npy(order, version=version), what="betas")
        assert found.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(found, array)


def test_a_pickle_is_never_opened():
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("the pickle ran",)

    with pytest.raises(ValueError, match="betas must hold numbers, got object"):
        parse_npy(npy(np.array([Bomb()], dtype=object), allow_pickle=True), what="betas")


def test_betas_of_any_float_type_are_float32_with_nan_kept():
    array = np.array([[[1, 2], [np.nan, np.nan]]], ">f8")
    betas = betas_from_upload(array, subject="subj01", n_voxels=2, max_images=1)
    assert betas.dtype == np.dtype("=f4")
    np.testing.assert_array_equal(betas, array)


@pytest.mark.parametrize("shape", [(2,), (1, 3), (0, 2), (1, 0, 2), (1, 1, 1, 2), ()])
def test_betas_of_another_shape_are_refused(shape):
    accepted = r"betas must be \(images, 2\) or \(images, repeats, 2\) for subj01, got \("
    with pytest.raises(ValueError, match=accepted):
        betas_from_upload(np.zeros(shape), subject="subj01", n_voxels=2, max_images=1)


def test_gallery_images_become_8_bit():
    gallery = gallery_from_upload(np.full((2, 8, 9, 3), 255), max_images=2)
    assert (gallery.dtype, gallery.shape, gallery.min()) == (np.uint8, (2, 8, 9, 3), 255)
    with pytest.raises(ValueError, match="from 0 to 255, got int64 from 256 to 256"):
        gallery_from_upload(np.full((2, 8, 9, 3), 256), max_images=2)
