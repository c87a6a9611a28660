import h5py
import numpy as np
import pytest
from scipy.io import savemat

from mindeye2.core.errors import ArtifactError
from mindeye2.data.arrays import ConcatenatedRows, find_array, open_matrix
from mindeye2.data.source_dataset import Rows

MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3)


def save_npy(path):
    np.save(path, MATRIX)


def save_h5(path):
    with h5py.File(path, "w") as file:
        file["betas"] = MATRIX
        file["other"] = MATRIX + 1


def save_old_mat(path):
    savemat(path, {"betas": MATRIX, "comment": "no numbers"})


def save_new_mat(path):
    """MATLAB 7.3: 512 bytes of its own, then HDF5 with the axes in reverse order."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file["betas"] = MATRIX.T


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("a.npy", save_npy),
        ("a.h5", save_h5),
        ("a.hdf5", save_h5),
        ("a.mat", save_old_mat),
        ("a.mat", save_new_mat),
    ],
)
def test_every_format_gives_the_same_matrix(tmp_path, name, save):
    save(tmp_path / name)
    found = open_matrix(find_array(tmp_path / "a"), name="betas")
    assert (found.shape, len(found)) == ((4, 3), 4)
    np.testing.assert_array_equal(found[:], MATRIX)
    np.testing.assert_array_equal(found[1:3], MATRIX[1:3])
    np.testing.assert_array_equal(found[np.array([0, 3])], MATRIX[[0, 3]])


def test_the_only_matrix_is_taken_whatever_its_name(tmp_path):
    savemat(tmp_path / "a.mat", {"responses": MATRIX, "tr": 2.0})
    np.testing.assert_array_equal(open_matrix(tmp_path / "a.mat", name="betas")[:], MATRIX)


def test_several_matrices_need_a_name(tmp_path):
    save_h5(tmp_path / "a.h5")
    with pytest.raises(ArtifactError, match=r"no array 'subj01' and 2 other.*'betas': \(4, 3\)"):
        open_matrix(tmp_path / "a.h5", name="subj01")


def test_files_that_could_both_be_meant_are_refused(tmp_path):
    save_npy(tmp_path / "a.npy")
    save_h5(tmp_path / "a.h5")
    with pytest.raises(ArtifactError, match=r"a\.npy.*a\.h5.*could all be meant"):
        find_array(tmp_path / "a")
    assert find_array(tmp_path / "a.h5").name == "a.h5"
    assert find_array(tmp_path / "b") is None


def test_a_pickled_array_is_refused_with_its_adapter(tmp_path):
    np.save(tmp_path / "a.npy", {"betasmd": MATRIX})
    with pytest.raises(ArtifactError, match=r"Python objects.*prepare glmsingle"):
        open_matrix(tmp_path / "a.npy", name="betas")


def test_a_truncated_array_is_named(tmp_path):
    save_npy(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-8])
    with pytest.raises(ArtifactError, match=r"a\.npy cannot be read\. It is truncated"):
        open_matrix(tmp_path / "a.npy", name="betas")


@pytest.mark.parametrize("name", ["a.h5", "a.mat"])
def test_a_file_of_another_kind_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"something else entirely" * 40)
    with pytest.raises(ArtifactError, match=f"{name} is damaged or no"):
        open_matrix(tmp_path / name, name="betas")


def test_an_array_with_other_axes_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 2, 2, 5)))
    with pytest.raises(
        ArtifactError, match=r"shape \(2, 2, 2, 5\); a matrix of \(trials, voxels\)"
    ):
        open_matrix(tmp_path / "a.npy", name="betas")


class Unreadable:
    shape = (4, 3)

    def __len__(self):
        return 4

    def __getitem__(self, rows):
        raise AssertionError("read although none of its rows was asked for")


def test_concatenated_matrices_are_read_as_one():
    parts = [np.arange(n * 3, dtype=np.float32).reshape(n, 3) + 100 * n for n in (2, 1, 4)]
    whole, rows_of = np.concatenate(parts), ConcatenatedRows(parts)
    assert isinstance(rows_of, Rows)
    assert (rows_of.shape, len(rows_of)) == ((7, 3), 7)
    for rows in (slice(None), slice(1, 4), slice(2, 3), np.array([0, 2, 6]), slice(0, 0)):
        np.testing.assert_array_equal(rows_of[rows], whole[rows])


def test_a_matrix_without_wanted_rows_is_not_read():
    rows = ConcatenatedRows([np.ones((2, 3)), Unreadable()])
    assert rows[:2].dtype == np.float32
    assert rows.shape == (6, 3)
