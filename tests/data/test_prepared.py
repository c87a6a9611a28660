import numpy as np
import pandas as pd
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.betas import zscore_by_session
from mindeye2.data.prepared import open_prepared, write_prepared

N_IMAGES = 10
SPLITS = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2


@pytest.fixture
def trials():
    """Return two people who saw each image twice, subj02 in reverse order."""
    shown = np.tile(np.arange(N_IMAGES), 2)
    tables = [
        pd.DataFrame(
            {
                "subject": subject,
                "session": np.repeat([1, 2], N_IMAGES),
                "run": 1,
                "trial": np.tile(np.arange(1, N_IMAGES + 1), 2),
                "image": images,
                "source_image": images + 100,
                "repeat": np.repeat([0, 1], N_IMAGES),
                "split": [SPLITS[i] for i in images],
            }
        )
        for subject, images in {"subj01": shown, "subj02": shown[::-1]}.items()
    ]
    return pd.concat(tables, ignore_index=True)


@pytest.fixture
def parts(trials, tmp_path):
    """Return what `write_prepared` takes, with the images in place."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(N_IMAGES, 8, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    betas, scalers, voxels = {}, {}, {}
    for subject, n_voxels in {"subj01": 5, "subj02": 3}.items():
        raw = rng.normal(size=(20, n_voxels)).astype(np.float32)
        own = trials[trials["subject"] == subject]
        betas[subject], scalers[subject] = zscore_by_session(raw, own, subject=subject)
        voxels[subject] = pd.DataFrame({"i": range(n_voxels), "roi": "V1"})
    captions = [f"picture {i}" for i in range(N_IMAGES)]
    return {
        "trials": trials,
        "captions": captions,
        "betas": betas,
        "scalers": scalers,
        "voxels": voxels,
        "config": {"seed": 0},
    }


@pytest.fixture
def prepared(parts, tmp_path):
    (tmp_path / "targets" / "lite0").mkdir(parents=True)
    np.save(tmp_path / "targets" / "lite0" / "values.npy", np.ones((N_IMAGES, 4), np.float16))
    write_prepared(tmp_path, **parts)
    return open_prepared(tmp_path)


def test_what_is_written_is_read_again(prepared, parts):
    assert prepared.n_voxels == {"subj01": 5, "subj02": 3}
    assert prepared.subjects == ["subj01", "subj02"]
    assert prepared.captions == parts["captions"]
    assert prepared.images.shape == (N_IMAGES, 8, 8, 3)
    np.testing.assert_allclose(prepared.betas("subj02"), parts["betas"]["subj02"], atol=2e-3)
    assert prepared.voxels("subj02")["i"].tolist() == [0, 1, 2]
    assert prepared.targets("lite0").shape == (N_IMAGES, 4)


def test_the_index_of_a_subject_s_trials_is_the_row_of_its_betas(prepared):
    table = prepared.trials_of("subj02", "test", sessions=[2])
    assert table["image"].tolist() == [9, 8]
    assert table.index.tolist() == [10, 11]


def test_a_split_has_its_own_images(prepared):
    assert [prepared.images_of(s).tolist() for s in ("train", "validation", "test")] == [
        [0, 1, 2, 3, 4, 5],
        [6, 7],
        [8, 9],
    ]


def test_large_arrays_stay_on_disk(prepared):
    assert isinstance(prepared.betas("subj01"), np.memmap)
    assert isinstance(prepared.images, np.memmap)


def test_the_scaler_is_kept_with_the_trials_it_was_fitted_on(prepared, parts):
    with np.load(prepared.folder / "scaler" / "subj01.npz", allow_pickle=False) as stored:
        own = parts["trials"].query("subject == 'subj01'")
        np.testing.assert_array_equal(stored["fitted_on"], own["split"] != "test")
        np.testing.assert_array_equal(stored["mean"], parts["scalers"]["subj01"].mean)


def test_a_data_set_without_captions_says_so(parts, tmp_path):
    write_prepared(tmp_path, **{**parts, "captions": None})
    assert open_prepared(tmp_path).captions is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("betas", np.zeros((19, 3), np.float32), r"subj02 has 19 rows of betas but 20 trials"),
        ("voxels", pd.DataFrame({"i": [0]}), r"subj02 has betas of 3 voxels but .* of 1 rows"),
    ],
)
def test_parts_that_do_not_fit_are_refused_and_nothing_is_sealed(
    parts, tmp_path, name, value, message
):
    parts[name]["subj02"] = value
    with pytest.raises(ArtifactError, match=message):
        write_prepared(tmp_path, **parts)
    with pytest.raises(ArtifactError, match="has neither manifest"):
        open_prepared(tmp_path)


def test_a_caption_for_each_image_or_none(parts, tmp_path):
    with pytest.raises(ArtifactError, match=r"9 captions for 10 images"):
        write_prepared(tmp_path, **{**parts, "captions": ["a"] * 9})


@pytest.mark.parametrize("call", ["trials_of", "betas", "voxels"])
def test_an_unknown_subject_meets_the_known_ones(prepared, call):
    with pytest.raises(
        ValueError, match=r"subject must be one of \['subj01', 'subj02'\], got 'sub"
    ):
        getattr(prepared, call)("sub01")


def test_an_encoder_that_was_not_run_meets_those_that_were(prepared):
    with pytest.raises(ArtifactError, match=r"no targets of the encoder 'clip', only \['lite0'\]"):
        prepared.targets("clip")


def test_a_truncated_array_is_named_when_it_is_opened(prepared):
    path = prepared.folder / "betas" / "subj01.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match=r"subj01\.npy has \d+ bytes, but \d+ bytes were"):
        open_prepared(prepared.folder)
    with pytest.raises(ArtifactError, match=r"subj01\.npy is truncated or not a NumPy array"):
        prepared.betas("subj01")


def test_a_missing_array_is_named(prepared):
    (prepared.folder / "images.npy").unlink()
    with pytest.raises(ArtifactError, match=r"images\.npy is missing"):
        _ = prepared.images
