import h5py
import numpy as np
import pytest
from scipy.io import savemat

from mindeye2.core.errors import ArtifactError
from mindeye2.data.glmsingle.glmsingle_files import (
    VolumeBetas,
    betas_shape,
    find_result,
    read_design,
)

BETAS = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype("f4")
STEM = "TYPED_FITHRF_GLMDENOISE_RR"


def save_npy(path):
    np.save(path, {"betasmd": BETAS, "pcnum": 3, "R2": BETAS[..., 0]})


def save_hdf5(path):
    with h5py.File(path, "w") as file:
        file["betasmd"] = BETAS
        file["pcvoxels"] = h5py.Empty("f")


def save_old_mat(path):
    savemat(path, {"modelmd": BETAS, "R2": BETAS[..., 0]})


def save_new_mat(path):
    with h5py.File(path, "w", userblock_size=512) as file:
        file["modelmd"] = BETAS.T
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file")


FORMATS = [
    (".npy", save_npy),
    (".hdf5", save_hdf5),
    (".mat", save_old_mat),
    (".mat", save_new_mat),
]


@pytest.mark.parametrize(("suffix", "save"), FORMATS)
def test_every_format_gives_the_same_betas(tmp_path, suffix, save):
    save(tmp_path / f"{STEM}{suffix}")
    path = find_result(tmp_path, "D")
    assert betas_shape(path) == (3, 4, 5, 6)
    voxels, trials = np.array([0, 7, 19, 20, 59]), np.array([0, 2, 5])
    betas = VolumeBetas(path, voxels, trials)
    expected = BETAS.reshape(60, 6)[voxels][:, trials].T
    assert (betas.shape, len(betas)) == ((3, 5), 3)
    np.testing.assert_array_equal(betas[:], expected)
    np.testing.assert_array_equal(betas[1:], expected[1:])
    np.testing.assert_array_equal(betas[np.array([0, 2])], expected[[0, 2]])


def test_large_files_are_read_in_parts(tmp_path, monkeypatch):
    save_hdf5(tmp_path / f"{STEM}.hdf5")
    monkeypatch.setattr("mindeye2.data.glmsingle.glmsingle_files._BLOCK", 130)
    betas = VolumeBetas(tmp_path / f"{STEM}.hdf5", np.array([1, 22, 58]), np.arange(6))
    np.testing.assert_array_equal(betas[:], BETAS.reshape(60, 6)[[1, 22, 58]].T)


def test_a_surface_is_a_volume_with_one_axis(tmp_path):
    path = tmp_path / f"{STEM}.npy"
    np.save(path, {"betasmd": BETAS.reshape(60, 6)})
    assert betas_shape(path) == (60, 1, 1, 6)
    np.testing.assert_array_equal(
        VolumeBetas(path, np.arange(60), np.arange(6))[:], BETAS.reshape(60, 6).T
    )


def test_a_file_that_was_written_again_is_read_again(tmp_path):
    import os

    path = tmp_path / f"{STEM}.npy"
    save_npy(path)
    betas = VolumeBetas(path, np.arange(60), np.arange(6))
    first = betas[:]
    np.save(path, {"betasmd": BETAS + 1})
    os.utime(path, ns=(1, 1))
    np.testing.assert_allclose(betas[:], first + 1, rtol=1e-5)


@pytest.mark.parametrize("suffix", [".npy", ".hdf5", ".mat"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    dict(FORMATS[:3])[suffix](path := tmp_path / f"{STEM}{suffix}")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ArtifactError, match=rf"{STEM}\{suffix} is truncated or damaged"):
        betas_shape(path)


def test_a_file_without_single_trial_betas_is_refused(tmp_path):
    with h5py.File(tmp_path / f"{STEM}.hdf5", "w") as file:
        file["R2"] = BETAS[..., 0]
    np.save(tmp_path / f"{STEM}.npy", {"R2": BETAS[..., 0]})
    for suffix in (".hdf5", ".npy"):
        with pytest.raises(ArtifactError, match=r"no single-trial betas.*only \['R2'\]"):
            betas_shape(tmp_path / f"{STEM}{suffix}")


def test_the_design_is_read_from_python_and_from_matlab(tmp_path):
    order = [2, 0, 1, 0]
    runs, options = [1, 3], {"wantlss": 0, "wantfracridge": 1, "hrflibrary": np.ones((3, 2))}
    python = {"stimorder": order, "numtrialrun": runs, "tr": 1.6, "params": options}
    folders = [tmp_path / name for name in ("python", "old", "new")]
    for folder in folders:
        folder.mkdir()
    np.save(folders[0] / "DESIGNINFO.npy", python)
    matlab = {"stimorder": np.array(order) + 1, "numtrialrun": runs, "tr": 1.6}
    savemat(folders[1] / "DESIGNINFO.mat", matlab)
    with h5py.File(folders[2] / "DESIGNINFO.mat", "w", userblock_size=512) as file:
        for name, value in matlab.items():
            file[name] = np.atleast_2d(np.asarray(value, float)).T
    for folder in folders:
        design = read_design(folder)
        assert (design.conditions.tolist(), design.trials_per_run) == (order, (1, 3))
        assert design.facts["tr"] == 1.6
    assert read_design(folders[0]).facts["wantfracridge"] == 1
    assert read_design(tmp_path) is None


def test_a_version_is_kept_where_there_is_one(tmp_path):
    found = {"stimorder": [0], "numtrialrun": [1]}
    np.save(tmp_path / "DESIGNINFO.npy", found)
    assert read_design(tmp_path).facts == {"version": "not recorded by GLMsingle"}
    np.save(tmp_path / "DESIGNINFO.npy", found | {"version": "1.2"})
    assert read_design(tmp_path).facts == {"version": "1.2"}
