import numpy as np
import pytest
from PIL import Image

from mindeye2.core.errors import ArtifactError
from mindeye2.data.image_reading import read_image, resize_to_square


@pytest.fixture
def wide():
    """Return an image of three squares: green, blue, green."""
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, :, 1], pixels[:, 32:64] = 255, (0, 0, 255)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("fit", "corner", "middle"),
    [
        ("crop", (0, 0, 255), (0, 0, 255)),
        ("pad", (127, 127, 127), (0, 0, 255)),
        ("stretch", (0, 255, 0), (0, 0, 255)),
    ],
)
def test_a_wide_image_is_cropped_padded_or_stretched(wide, fit, corner, middle):
    square = resize_to_square(wide, 32, fit=fit)
    assert square.shape == (32, 32, 3)
    np.testing.assert_allclose(square[1, 1], corner, atol=3)
    np.testing.assert_allclose(square[16, 16], middle, atol=3)


def test_resizing_averages_what_it_removes():
    """A filter without antialiasing would keep single pixels of the checkerboard."""
    board = np.indices((256, 256)).sum(0) % 2 * 255
    image = Image.fromarray(board.astype(np.uint8)).convert("RGB")
    np.testing.assert_allclose(resize_to_square(image, 32), 127.5, atol=1)


def test_transparent_parts_are_grey(tmp_path):
    Image.new("RGBA", (32, 32), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    assert (np.asarray(read_image(tmp_path / "clear.png", name="clear")) == 127).all()


def test_an_image_is_turned_upright_by_its_exif_data(tmp_path, wide):
    exif = Image.Exif()
    exif[0x0112] = 6  # recorded with the camera on its side
    wide.save(tmp_path / "turned.png", exif=exif)
    assert read_image(tmp_path / "turned.png", name="turned").size == (32, 96)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n cut off"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"bad\.png cannot be read as an image"):
        read_image(tmp_path / "bad.png", name=tmp_path / "bad.png")


def test_an_image_of_too_many_pixels_is_refused_in_words(tmp_path, monkeypatch):
    Image.new("RGB", (100, 100)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    with pytest.raises(ArtifactError, match=r"huge\.png is too large: .*at most 4,000 pixels"):
        read_image(tmp_path / "huge.png", name=tmp_path / "huge.png")
