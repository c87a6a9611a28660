import numpy as np
import pytest
from PIL import Image

from mindeye2.core.errors import ArtifactError
from mindeye2.data.pictures import PictureFiles, PictureSettings, find_pictures, read_picture
from mindeye2.data.source_dataset import Rows

SETTINGS = PictureSettings(size=32)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a red, a wide (green, blue, green) and a transparent picture."""
    Image.new("RGB", (40, 40), (255, 0, 0)).save(tmp_path / "red.png")
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, :, 1], wide[:, 32:64] = 255, (0, 0, 255)
    (tmp_path / "sub").mkdir()
    Image.fromarray(wide).save(tmp_path / "sub" / "wide.v2.bmp")
    Image.new("RGBA", (32, 32), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    return tmp_path


def test_names_are_found_with_and_without_their_suffix(folder):
    found = find_pictures(folder, ["red", "red.png", "sub/wide.v2"])
    assert [p.name for p in found] == ["red.png", "red.png", "wide.v2.bmp"]


def test_missing_images_are_listed_by_name(folder):
    with pytest.raises(ArtifactError, match=r"2 of 3 images.*\['cat', 'dog'\]\); 3 image files"):
        find_pictures(folder, ["red", "cat", "dog"])


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"stimuli does not exist\. Put the pictures"):
        find_pictures(tmp_path / "stimuli", ["a"])


@pytest.mark.parametrize(
    ("fit", "corner", "middle"),
    [
        ("crop", (0, 0, 255), (0, 0, 255)),
        ("pad", (127, 127, 127), (0, 0, 255)),
        ("stretch", (0, 255, 0), (0, 0, 255)),
    ],
)
def test_a_wide_picture_is_cropped_padded_or_stretched(folder, fit, corner, middle):
    picture = read_picture(folder / "sub" / "wide.v2.bmp", PictureSettings(size=32, fit=fit))
    assert picture.shape == (32, 32, 3)
    np.testing.assert_allclose(picture[1, 1], corner, atol=3)
    np.testing.assert_allclose(picture[16, 16], middle, atol=3)


def test_transparent_parts_are_grey(folder):
    assert (read_picture(folder / "clear.png", SETTINGS) == 127).all()


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n cut off"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"bad\.png cannot be read as a picture"):
        read_picture(tmp_path / "bad.png", SETTINGS)


def test_pictures_are_read_by_slices_and_by_numbers(folder):
    paths = find_pictures(folder, ["red", "sub/wide.v2", "clear"])
    pictures = PictureFiles(paths, SETTINGS)
    assert isinstance(pictures, Rows)
    assert (pictures.shape, len(pictures)) == ((3, 32, 32, 3), 3)
    whole = pictures[:]
    np.testing.assert_array_equal(whole[0, 0, 0], (255, 0, 0))
    np.testing.assert_array_equal(pictures[1:2], whole[1:2])
    np.testing.assert_array_equal(pictures[np.array([0, 2])], whole[[0, 2]])
