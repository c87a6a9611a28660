import numpy as np
import pytest

from mindeye2.doctor.files import read_loosely
from mindeye2.doctor.study import N_SAMPLE, open_study, scan_subject


def test_what_cannot_be_read_is_named_and_the_rest_is_opened(parts, write):
    folder = write(parts)
    path = folder / "betas" / "subj01.npy"
    path.write_bytes(path.read_bytes()[:-8])
    (folder / "trials.parquet").write_bytes(b"nothing")
    (folder / "scaler" / "subj02.npz").unlink()
    study, findings = open_study(folder, read_loosely(folder))
    assert [(f.level, f.where) for f in findings] == [
        ("error", "trials.parquet"),
        ("error", "betas/subj01.npy"),
    ]
    assert (study.trials, list(study.betas), list(study.scalers)) == (None, ["subj02"], ["subj01"])
    assert study.paired == []


def test_a_subject_is_paired_if_each_trial_has_a_row_of_betas(parts, write):
    folder = write(parts)
    np.save(folder / "betas" / "subj02.npy", np.ones((179, 40), np.float16))
    study, _ = open_study(folder, read_loosely(folder))
    assert study.paired == ["subj01"]


def test_a_scan_has_the_statistics_of_each_session(parts, study):
    found, scan = study(parts)
    betas = np.asarray(found.betas["subj01"], np.float64)
    table = found.trials_of("subj01")
    second = (table["session"] == 2).to_numpy()
    outside = second & (table["split"] != "test").to_numpy()
    assert scan.sessions.tolist() == [1, 2, 3]
    np.testing.assert_allclose(scan.low[1], betas[second].min(axis=0))
    np.testing.assert_allclose(scan.high[1], betas[second].max(axis=0))
    np.testing.assert_allclose(scan.centre["all"][1], betas[second].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(scan.spread["outside test"][1], betas[outside].std(axis=0), 1e-4)
    np.testing.assert_array_equal(scan.sample, found.betas["subj01"])


def test_sessions_that_are_not_in_one_piece_are_scanned_too(parts, study):
    own = parts["trials"]["subject"] == "subj01"
    parts["trials"].loc[own, "session"] = np.tile([1, 2, 3], 60)
    found, scan = study(parts)
    betas = np.asarray(found.betas["subj01"])
    np.testing.assert_array_equal(scan.low[2], betas[2::3].min(axis=0))
    np.testing.assert_array_equal(scan.rows(2), np.arange(1, 180, 3))


@pytest.mark.parametrize("n_voxels", [10, N_SAMPLE, N_SAMPLE + 1, 3 * N_SAMPLE])
def test_the_sample_is_spread_over_all_voxels_and_bounded(parts, study, n_voxels):
    rng = np.random.default_rng(0)
    parts["betas"]["subj01"] = rng.normal(size=(180, n_voxels)).astype(np.float32)
    _, scan = study(parts)
    assert min(n_voxels, N_SAMPLE) / 2 <= scan.sample.shape[1] <= N_SAMPLE


def test_voxels_that_are_not_finite_are_not_usable(parts, study):
    def spoil(betas):
        betas[5, 3] = np.nan
        betas[:, 7] = 1

    _, scan = study(parts, spoil=spoil)
    assert scan.usable.shape == (180, 28)
    assert np.isfinite(scan.centre["all"]).all()
    assert scan.n_bad.sum() == 1


def test_large_arrays_stay_on_disk(parts, write):
    folder = write(parts)
    study, _ = open_study(folder, read_loosely(folder))
    assert isinstance(study.betas["subj01"], np.memmap)
    assert isinstance(study.images, np.memmap)
    assert scan_subject(study, "subj02").sample.dtype == np.float16
