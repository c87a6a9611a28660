import numpy as np
import pandas as pd
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared.subject_writer import SubjectSource, write_subject
from mindeye2.data.prepared.zscore import zscore_by_session
from mindeye2.data.reliability import ncsnr

SESSIONS, TRIALS, VOXELS = 3, 20, 7


class Lazy:
    """Rows that are counted as they are read, and that fail at one session."""

    def __init__(self, values, *, fail_at=10**6):
        self.values = values
        self.shape = values.shape
        self.fail_at = fail_at
        self.read = []

    def __len__(self):
        return len(self.values)

    def __getitem__(self, rows):
        found = self.values[rows]
        self.read.append(len(found))
        if len(self.read) > self.fail_at:
            raise KeyboardInterrupt
        return found


@pytest.fixture
def trials():
    """Return 3 sessions of 20 trials; images 0 to 14 are shown again and again, 12 to 14 test."""
    rng = np.random.default_rng(0)
    shown = np.concatenate([rng.permutation(np.arange(20) % 15) for _ in range(SESSIONS)])
    return pd.DataFrame(
        {
            "subject": "subj01",
            "session": np.repeat([1, 2, 4], TRIALS),
            "image": shown,
            "source_image": shown + 100,
            "split": ["test" if i > 11 else "validation" if i > 9 else "train" for i in shown],
        }
    )


@pytest.fixture
def betas():
    return np.random.default_rng(1).normal(3, 2, (SESSIONS * TRIALS, VOXELS)).astype(np.float32)


@pytest.fixture
def subject(trials, betas):
    voxels = pd.DataFrame({"i": range(VOXELS)})
    return SubjectSource(name="subj01", betas=betas, trials=trials, voxels=voxels)


def changed(subject, **changes):
    return SubjectSource(**{**vars(subject), **changes})


def files(folder):
    """Return the bytes of a subject's results."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "state" not in path.parts
    }


def test_what_is_written_is_what_the_whole_in_memory_gives(subject, trials, betas, tmp_path):
    write_subject(tmp_path, subject)
    scaled, scaler = zscore_by_session(betas, trials, subject="subj01")
    np.testing.assert_array_equal(
        np.load(tmp_path / "betas/subj01.npy"), scaled.astype(np.float16)
    )
    with np.load(tmp_path / "scaler/subj01.npz") as stored:
        np.testing.assert_array_equal(stored["mean"], scaler.mean)
        np.testing.assert_array_equal(stored["fitted_on"], trials["split"] != "test")
        assert stored["sessions"].tolist() == [1, 2, 4]
    train = (trials["split"] == "train").to_numpy()
    voxels = pd.read_parquet(tmp_path / "voxels/subj01.parquet")
    expected = ncsnr(scaled[train], trials["image"].to_numpy()[train])
    np.testing.assert_array_equal(voxels["ncsnr_train"], expected)
    assert list(voxels) == ["i", "ncsnr_train", "noise_ceiling_1", "noise_ceiling_3"]


@pytest.mark.parametrize("kind", ["memmap", "hdf5", "lazy", "float64"])
def test_any_rows_give_the_same_files(subject, betas, tmp_path, kind):
    write_subject(tmp_path / "memory", subject)
    if kind == "memmap":
        np.save(tmp_path / "betas.npy", betas)
        rows = np.load(tmp_path / "betas.npy", mmap_mode="r")
    elif kind == "hdf5":
        file = pytest.importorskip("h5py").File(tmp_path / "betas.h5", "w")
        rows = file.create_dataset("betas", data=betas)
    else:
        rows = Lazy(betas) if kind == "lazy" else betas.astype(np.float64)
    write_subject(tmp_path / "other", changed(subject, betas=rows))
    assert files(tmp_path / "other") == files(tmp_path / "memory")


def test_one_session_is_read_at_a_time(subject, betas, tmp_path):
    rows = Lazy(betas)
    write_subject(tmp_path, changed(subject, betas=rows))
    assert rows.read == [TRIALS] * SESSIONS


def test_sessions_that_lie_scattered_are_put_in_their_rows(subject, trials, betas, tmp_path):
    order = np.random.default_rng(2).permutation(len(trials))
    mixed = changed(subject, betas=betas[order], trials=trials.iloc[order])
    write_subject(tmp_path, mixed)
    scaled, _ = zscore_by_session(betas[order], trials.iloc[order], subject="subj01")
    np.testing.assert_array_equal(
        np.load(tmp_path / "betas/subj01.npy"), scaled.astype(np.float16)
    )


def test_a_stopped_subject_goes_on_with_the_next_session(subject, betas, tmp_path):
    write_subject(tmp_path / "whole", subject)
    with pytest.raises(KeyboardInterrupt):
        write_subject(tmp_path / "cut", changed(subject, betas=Lazy(betas, fail_at=1)))
    assert files(tmp_path / "cut") == {}
    rest = Lazy(betas)
    write_subject(tmp_path / "cut", changed(subject, betas=rest))
    assert len(rest.read) == SESSIONS - 1
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    left = {p.name for p in (tmp_path / "cut/state/subj01").iterdir()}
    assert left == {"source.json"}


def test_a_finished_subject_is_not_read_again_unless_its_trials_changed(subject, betas, tmp_path):
    write_subject(tmp_path, subject)
    again = changed(subject, betas=Lazy(betas))
    write_subject(tmp_path, again)
    assert again.betas.read == []
    write_subject(tmp_path, changed(again, trials=again.trials.assign(image=0)))
    assert len(again.betas.read) == SESSIONS


@pytest.mark.parametrize(
    "made", ["betas/subj01.npy", "scaler/subj01.npz", "voxels/subj01.parquet"]
)
def test_what_was_removed_from_a_finished_subject_is_made_again(subject, tmp_path, made):
    write_subject(tmp_path, subject)
    before = (tmp_path / "betas" / "subj01.npy").read_bytes()
    (tmp_path / made).unlink()
    write_subject(tmp_path, subject)
    assert (tmp_path / made).exists()
    assert (tmp_path / "betas" / "subj01.npy").read_bytes() == before


def test_released_scaling_is_fitted_on_all_trials_of_a_session(subject, betas, tmp_path):
    write_subject(tmp_path, changed(subject, scaling="released"))
    by_session = betas.reshape(SESSIONS, TRIALS, VOXELS).astype(np.float64)
    expected = (by_session - by_session.mean(1, keepdims=True)) / by_session.std(1, keepdims=True)
    written = np.load(tmp_path / "betas/subj01.npy")
    np.testing.assert_allclose(written, expected.reshape(-1, VOXELS), atol=2e-3)
    with np.load(tmp_path / "scaler/subj01.npz") as stored:
        assert stored["fitted_on"].all()


def test_betas_that_are_z_scored_stay_as_they_are(subject, betas, tmp_path):
    write_subject(tmp_path, changed(subject, scaling="none"))
    written = np.load(tmp_path / "betas/subj01.npy")
    np.testing.assert_array_equal(written, betas.astype(np.float16))
    with np.load(tmp_path / "scaler/subj01.npz") as stored:
        assert (stored["mean"] == 0).all()
        assert (stored["std"] == 1).all()
        assert not stored["fitted_on"].any()


def test_voxels_that_do_not_vary_in_a_session_are_counted(subject, betas, tmp_path):
    betas[TRIALS : 2 * TRIALS, 3] = 0
    with pytest.raises(ArtifactError, match=r"1 voxels of subj01 .*session 2.*constant_voxels=ze"):
        write_subject(tmp_path, subject)
    write_subject(tmp_path, changed(subject, keep_constant=True))
    voxels = pd.read_parquet(tmp_path / "voxels/subj01.parquet")
    assert voxels["constant_sessions"].tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert (np.load(tmp_path / "betas/subj01.npy")[TRIALS : 2 * TRIALS, 3] == 0).all()
