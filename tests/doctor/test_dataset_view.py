import numpy as np
import pytest

from mindeye2.doctor.dataset_view import N_SAMPLE, open_dataset, scan_betas
from mindeye2.doctor.integrity import read_damaged_manifest


def test_what_cannot_be_read_is_named_and_the_rest_is_opened(dataset, write_dataset):
    folder = write_dataset(dataset)
    path = folder / "betas" / "subj01.npy"
    path.write_bytes(path.read_bytes()[:-8])
    (folder / "trials.parquet").write_bytes(b"nothing")
    (folder / "scaler" / "subj02.npz").unlink()
    open_view, findings = open_dataset(folder, read_damaged_manifest(folder))
    assert [(f.level, f.where) for f in findings] == [
        ("error", "trials.parquet"),
        ("error", "betas/subj01.npy"),
    ]
    assert (open_view.trials, list(open_view.betas), list(open_view.scalers)) == (
        None,
        ["subj02"],
        ["subj01"],
    )
    assert open_view.matched_subjects == []


def test_a_subject_is_matched_if_each_trial_has_a_row_of_betas(dataset, write_dataset):
    folder = write_dataset(dataset)
    np.save(folder / "betas" / "subj02.npy", np.ones((179, 40), np.float16))
    open_view, _ = open_dataset(folder, read_damaged_manifest(folder))
    assert open_view.matched_subjects == ["subj01"]


def test_statistics_are_those_of_each_session(dataset, open_view):
    view, stats = open_view(dataset)
    betas = np.asarray(view.betas["subj01"], np.float64)
    table = view.trials_of("subj01")
    second = (table["session"] == 2).to_numpy()
    outside = second & (table["split"] != "test").to_numpy()
    assert stats.sessions.tolist() == [1, 2, 3]
    np.testing.assert_allclose(stats.low[1], betas[second].min(axis=0))
    np.testing.assert_allclose(stats.high[1], betas[second].max(axis=0))
    np.testing.assert_allclose(stats.mean["all"][1], betas[second].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(stats.std["outside test"][1], betas[outside].std(axis=0), 1e-4)
    np.testing.assert_array_equal(stats.sample, view.betas["subj01"])


def test_sessions_need_not_be_consecutive_rows(dataset, open_view):
    own = dataset["trials"]["subject"] == "subj01"
    dataset["trials"].loc[own, "session"] = np.tile([1, 2, 3], 60)
    view, stats = open_view(dataset)
    betas = np.asarray(view.betas["subj01"])
    np.testing.assert_array_equal(stats.low[2], betas[2::3].min(axis=0))
    np.testing.assert_array_equal(stats.rows(2), np.arange(1, 180, 3))


@pytest.mark.parametrize("n_voxels", [10, N_SAMPLE, N_SAMPLE + 1, 3 * N_SAMPLE])
def test_the_sample_is_evenly_spaced_and_bounded(dataset, open_view, n_voxels):
    rng = np.random.default_rng(0)
    dataset["betas"]["subj01"] = rng.normal(size=(180, n_voxels)).astype(np.float32)
    _, stats = open_view(dataset)
    assert min(n_voxels, N_SAMPLE) / 2 <= stats.sample.shape[1] <= N_SAMPLE


def test_voxels_that_are_not_finite_are_not_usable(dataset, open_view):
    def corrupt(betas):
        betas[5, 3] = np.nan
        betas[:, 7] = 1

    _, stats = open_view(dataset, corrupt=corrupt)
    assert stats.usable.shape == (180, 28)
    assert np.isfinite(stats.mean["all"]).all()
    assert stats.n_bad.sum() == 1


def test_large_arrays_stay_on_disk(dataset, write_dataset):
    folder = write_dataset(dataset)
    open_view, _ = open_dataset(folder, read_damaged_manifest(folder))
    assert isinstance(open_view.betas["subj01"], np.memmap)
    assert isinstance(open_view.images, np.memmap)
    assert scan_betas(open_view, "subj02").sample.dtype == np.float16
