import numpy as np
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.nsd.nsd_images import NsdImages, check_stimuli, read_captions

BRICK = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"


@pytest.fixture
def ids(original):
    """Return rows of ``imgBrick`` shown to subj01."""
    seen = original.subjects["subj01"].responses["73KID"].unique().astype(int) - 1
    return np.sort(seen)[:6]


def test_rows_are_read_by_their_0_based_number_and_reduced(tree, ids):
    images = NsdImages(path=tree.root / BRICK, ids=ids, size=48)
    check_stimuli(tree.root / BRICK, ids)
    assert images.shape == (6, 48, 48, 3)
    for rows in (slice(1, 3), np.array([0, 4])):
        found = images[rows]
        for image, number in zip(found, ids[rows], strict=True):
            np.testing.assert_array_equal(image[20, 20], tree.colour(number))


def test_reducing_averages_instead_of_skipping_pixels(tmp_path):
    h5py = pytest.importorskip("h5py")
    board = (np.indices((424, 424)).sum(axis=0) % 2 * 255).astype(np.uint8)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["imgBrick"] = np.repeat(board[None, :, :, None], 3, axis=3)
    image = NsdImages(path=tmp_path / "a.hdf5", ids=np.array([0]), size=53)[:]
    assert np.abs(image[0, 2:-2, 2:-2].astype(float) - 127.5).max() < 3


def test_a_brick_that_is_too_small_or_damaged_is_named(tree, ids):
    with pytest.raises(ArtifactError, match=r"and the trials show row 73000\. Take"):
        check_stimuli(tree.root / BRICK, np.array([73_000]))
    tree.replace(BRICK, (tree.root / BRICK).read_bytes()[:-2000])
    with pytest.raises(ArtifactError, match=r"39\.6 GB in the release\) is damaged"):
        check_stimuli(tree.root / BRICK, ids)


def test_captions_are_coco_s_first_of_the_right_split(tree, ids, tmp_path):
    tree.write_captions(tmp_path / "coco", ids[:-1])
    captions = read_captions(tmp_path / "coco", tree.info.set_index("nsdId"), ids)
    assert captions == [*(f"A photo of {n}." for n in ids[:-1]), ""]


def test_missing_captions_are_named_with_where_to_get_them(tree, ids, tmp_path):
    with pytest.raises(ArtifactError, match=r"captions_train2017\.json does not exist.*cocodatas"):
        read_captions(tmp_path, tree.info.set_index("nsdId"), ids)
    (tmp_path / "captions_train2017.json").write_text("[]")
    with pytest.raises(ArtifactError, match=r"not a file of COCO captions"):
        read_captions(tmp_path, tree.info.set_index("nsdId"), ids)
