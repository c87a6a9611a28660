import gzip

import numpy as np
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.nsd.sessions import SessionBetas, check_session

SHAPE = (6, 5, 4)


@pytest.fixture
def ijk():
    """Return some voxels in the order of NIfTI: i changes slowest; some are neighbours."""
    return np.argwhere(np.random.default_rng(3).random(SHAPE) < 0.4)


def open_session(path, ijk, kept=None):
    return SessionBetas(path=path, ijk=ijk, kept=np.arange(750) if kept is None else kept)


def expected(truth, ijk):
    return truth.subjects["subj01"].betas[1][tuple(ijk.T)].T / 300


@pytest.mark.parametrize("ending", ["hdf5", "nii.gz"])
def test_both_formats_give_percent_signal_change_of_the_right_voxels(tree, ijk, ending):
    """Axes of HDF5 are reversed, values are times 300 without a word, i changes slowest."""
    path = tree.root / tree.betas_folder / f"betas_session01.{ending}"
    if ending == "nii.gz":
        name = f"{tree.betas_folder}/betas_session01.nii.gz"
        tree.save_betas(name, tree.subjects["subj01"].betas[1])
    check_session(path, shape=SHAPE)
    read = open_session(path, ijk)[:]
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, expected(tree, ijk), rtol=1e-6)


def test_any_trials_and_any_order_of_voxels_can_be_read(original, ijk):
    path = original.subjects["subj01"].folder / "betas_session01.hdf5"
    kept = np.array([3, 10, 11, 749])
    mixed = np.random.default_rng(4).permutation(ijk)
    rows = open_session(path, mixed, kept)
    assert rows.shape == (4, len(ijk))
    np.testing.assert_allclose(rows[:], expected(original, mixed)[kept], rtol=1e-6)
    np.testing.assert_allclose(rows[np.array([1, 3])], rows[:][[1, 3]])
    np.testing.assert_allclose(rows[2:3], rows[:][2:3])


def test_a_mask_of_another_subject_or_space_is_refused(original):
    path = original.subjects["subj01"].folder / "betas_session01.hdf5"
    with pytest.raises(
        ArtifactError, match=r"volumes of \(6, 5, 4\) voxels, .*mask has \(4, 5, 6"
    ):
        check_session(path, shape=SHAPE[::-1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((*SHAPE, 749), np.int16), r"holds 749 trials of type int16.* has 750"),
        (np.zeros((*SHAPE, 750), np.float32), r"750 trials of type float32.*int16 \(percent"),
    ],
)
@pytest.mark.parametrize("ending", ["hdf5", "nii.gz"])
def test_files_that_are_not_sessions_are_refused(tree, values, message, ending):
    name = f"{tree.betas_folder}/betas_session01.{ending}"
    tree.save_betas(name, values)
    with pytest.raises(ArtifactError, match=message):
        check_session(tree.root / name, shape=SHAPE)


def test_a_header_that_scales_is_refused_because_betas_would_be_scaled_twice(tree):
    nibabel = pytest.importorskip("nibabel")
    path = tree.root / tree.betas_folder / "betas_session03.nii.gz"
    image = nibabel.Nifti1Image(np.zeros((*SHAPE, 750), np.int16), np.eye(4))
    image.header.set_slope_inter(1 / 300, 0)
    nibabel.save(image, path)
    with pytest.raises(ArtifactError, match=r"header scales values by 0\.003"):
        check_session(path, shape=SHAPE)


def test_a_download_that_stopped_is_named(tree, ijk):
    name = f"{tree.betas_folder}/betas_session01.hdf5"
    tree.replace(name, (tree.root / name).read_bytes()[:-3000])
    with pytest.raises(ArtifactError, match=r"01\.hdf5 \(\d+ bytes\) is damaged or .* its end"):
        check_session(tree.root / name, shape=SHAPE)
    name = f"{tree.betas_folder}/betas_session01.nii.gz"
    tree.save_betas(name, tree.subjects["subj01"].betas[1])
    whole = (tree.root / name).read_bytes()
    tree.replace(name, whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match=r"01\.nii\.gz \(\d+ bytes\) is damaged"):
        open_session(tree.root / name, ijk)[:]
    tree.replace(name, gzip.compress(gzip.decompress(whole)[:-5]))
    with pytest.raises(ArtifactError, match=r"ends in volume 749 of 750"):
        open_session(tree.root / name, ijk)[:]
