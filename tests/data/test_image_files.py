import numpy as np
import pytest
from PIL import Image

from mindeye2.core.errors import ArtifactError
from mindeye2.data.image_files import ImageFiles, ImageSettings, find_images
from mindeye2.data.source_dataset import Rows

SETTINGS = ImageSettings(size=32)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a red, a wide (green, blue, green) and a transparent image."""
    Image.new("RGB", (40, 40), (255, 0, 0)).save(tmp_path / "red.png")
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, :, 1], wide[:, 32:64] = 255, (0, 0, 255)
    (tmp_path / "sub").mkdir()
    Image.fromarray(wide).save(tmp_path / "sub" / "wide.v2.bmp")
    Image.new("RGBA", (32, 32), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    return tmp_path


def test_names_are_found_with_and_without_their_suffix(folder):
    found = find_images(folder, ["red", "red.png", "sub/wide.v2"])
    assert [p.name for p in found] == ["red.png", "red.png", "wide.v2.bmp"]


def test_missing_images_are_listed_by_name(folder):
    with pytest.raises(ArtifactError, match=r"2 of 3 images.*\['cat', 'dog'\]\); 3 image files"):
        find_images(folder, ["red", "cat", "dog"])


def test_an_image_of_another_suffix_is_named(folder):
    with pytest.raises(ArtifactError, match=r"\['red\.jpg'\]\).* red\.png is there: correct the"):
        find_images(folder, ["red.jpg"])


def test_a_missing_folder_is_named_with_its_setting(tmp_path):
    message = r"stimuli does not exist\. Put the images .*--set bids\.images=FOLDER"
    with pytest.raises(ArtifactError, match=message):
        find_images(tmp_path / "stimuli", ["a"], setting="bids.images")


def test_files_that_are_changed_are_counted(folder):
    Image.new("LA", (32, 32)).save(folder / "gray.png")
    (folder / "broken.png").write_bytes(b"no image")
    names = ["red.png", "sub/wide.v2.bmp", "clear.png", "gray.png", "broken.png"]
    images = ImageFiles([folder / n for n in names], ImageSettings(fit="pad"))
    assert images.conversions(setting="table.stimuli") == {
        "not_square": 1,
        "gray": 1,
        "transparent": 2,
        "files": 5,
        "fit": "pad",
        "setting": "table.stimuli",
    }


@pytest.mark.parametrize(("fit", "corner"), [("crop", 255), ("pad", 127), ("stretch", 0)])
def test_the_setting_decides_how_an_image_becomes_square(folder, fit, corner):
    images = ImageFiles([folder / "sub" / "wide.v2.bmp"], ImageSettings(size=32, fit=fit))
    assert abs(int(images[:][0, 1, 1, 2]) - corner) <= 3


def test_images_are_read_by_slices_and_by_numbers(folder):
    paths = find_images(folder, ["red", "sub/wide.v2", "clear"])
    images = ImageFiles(paths, SETTINGS)
    assert isinstance(images, Rows)
    assert (images.shape, len(images)) == ((3, 32, 32, 3), 3)
    whole = images[:]
    np.testing.assert_array_equal(whole[0, 0, 0], (255, 0, 0))
    np.testing.assert_array_equal(images[1:2], whole[1:2])
    np.testing.assert_array_equal(images[np.array([0, 2])], whole[[0, 2]])
