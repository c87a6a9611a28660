import numpy as np
import pandas as pd
import pytest

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared import open_prepared
from mindeye2.data.recording import Recording
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.tokens import Lite0Tokens
from mindeye2.stages.prepare import KINDS, PrepareSettings, prepare


@pytest.fixture
def recording():
    """Return one person: 2 sessions of 8 trials, 6 images to train, 2 to test."""
    rng = np.random.default_rng(0)
    shown = np.concatenate([rng.permutation(8) for _ in range(2)])
    trials = pd.DataFrame(
        {
            "subject": "subj01",
            "session": np.repeat([1, 2], 8),
            "run": 1,
            "trial": np.tile(np.arange(1, 9), 2),
            "image": shown,
            "source_image": shown,
            "repeat": np.repeat([0, 1], 8),
            "split": ["test" if i > 5 else "train" for i in shown],
        }
    )
    return Recording(
        images=rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8),
        captions=None,
        categories=None,
        trials=trials,
        betas={"subj01": rng.normal(3, 2, (16, 5)).astype(np.float32)},
        voxels={"subj01": pd.DataFrame({"roi": ["V1"] * 5})},
        label="A toy",
    )


@pytest.fixture
def toy(recording, monkeypatch):
    """Return settings of an adapter that gives the recording."""
    monkeypatch.setitem(KINDS, "toy", lambda _settings, _source: recording)
    return PrepareSettings(kind="toy")


def test_the_splits_have_the_images_asked_for(prepared):
    train, validation, test = (prepared.images_of(s) for s in ("train", "validation", "test"))
    assert train.max() < 60 <= validation.min()  # not everything is shown to somebody
    assert validation.max() < 72
    assert test.tolist() == list(range(72, 82))
    assert prepared.images.shape == (82, 96, 96, 3)
    assert len(prepared.captions) == len(prepared.categories) == 82
    assert all(60 <= n <= 90 for n in prepared.n_voxels.values())


def test_everybody_saw_every_test_image_as_often_as_asked(prepared):
    for subject in prepared.subjects:
        counts = prepared.trials_of(subject, "test")["image"].value_counts()
        assert counts.to_dict() == dict.fromkeys(range(72, 82), 2)


def test_betas_are_z_scored_by_the_trials_that_are_not_test(prepared):
    betas = np.asarray(prepared.betas("subj02"), np.float64)
    table = prepared.trials_of("subj02")
    fitted = betas[(table["session"] == 2) & (table["split"] != "test")]
    np.testing.assert_allclose(fitted.mean(axis=0), 0, atol=2e-3)
    np.testing.assert_allclose(fitted.std(axis=0), 1, atol=2e-3)


def test_targets_are_the_encoder_s_tokens_of_the_stored_pictures(prepared):
    expected = Lite0Tokens()(to_float(prepared.images[70:74])).numpy()
    np.testing.assert_allclose(prepared.targets("lite0")[70:74], expected, atol=1e-2, rtol=1e-2)


def test_simulated_people_are_called_simulated(data):
    assert "no person was scanned" in read_manifest(data, stage="prepare")["label"]


def test_test_trials_do_not_move_what_betas_are_scaled_with(toy, recording, tmp_path):
    prepare(toy, out=tmp_path / "a")
    recording.betas["subj01"][(recording.trials["split"] == "test").to_numpy()] += 1000
    prepare(toy, out=tmp_path / "b")
    first, second = (np.load(tmp_path / n / "scaler/subj01.npz") for n in "ab")
    np.testing.assert_array_equal(first["mean"], second["mean"])
    betas = [open_prepared(tmp_path / n).betas("subj01") for n in "ab"]
    train = (recording.trials["split"] == "train").to_numpy()
    np.testing.assert_array_equal(betas[0][train], betas[1][train])


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (
            (3, 2),
            np.nan,
            r"betas of subj01 hold 1 values that are NaN or infinite.*row 3, voxel 2",
        ),
        (
            (3, 2),
            np.inf,
            r"betas of subj01 hold 1 values that are NaN or infinite.*row 3, voxel 2",
        ),
        ((slice(None), 4), 1.0, r"1 voxels of subj01 are constant in session 1.*columns \[4\]"),
    ],
    ids=["NaN", "infinite", "constant"],
)
def test_bad_betas_are_named_and_nothing_is_sealed(
    toy, recording, tmp_path, where, value, message
):
    recording.betas["subj01"][where] = value
    with pytest.raises(ArtifactError, match=message):
        prepare(toy, out=tmp_path)
    with pytest.raises(ArtifactError, match="'prepare' did not finish there"):
        open_prepared(tmp_path)


def test_a_full_disk_leaves_no_half_file_of_pictures(toy, tmp_path, monkeypatch):
    """Or a resumed run would keep it: pictures that are there are not written again."""

    def full(path, array):
        path.write_bytes(array.tobytes()[:100])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mindeye2.stages.prepare.np.save", full)
        with pytest.raises(OSError, match="No space left"):
            prepare(toy, out=tmp_path)
    prepare(toy, out=tmp_path, resume=True)
    assert open_prepared(tmp_path).images.shape == (8, 32, 32, 3)


def test_scenes_alone_are_prepared_without_people(tmp_path):
    settings = PrepareSettings(kind="scenes", n_train=3, n_validation=0, n_test=0, scene_size=64)
    prepare(settings, out=tmp_path)
    scenes = open_prepared(tmp_path)
    assert (scenes.subjects, scenes.images.shape) == ([], (3, 64, 64, 3))


def test_a_folder_is_not_filled_twice_by_accident(data, people):
    with pytest.raises(ArtifactError, match=r"is not empty\. Add --resume"):
        prepare(people, out=data)
    other = people.model_copy(update={"seed": 1})
    with pytest.raises(ArtifactError, match=r"begun with other settings: \['seed'\] differ"):
        prepare(other, out=data, resume=True)


def test_an_unknown_adapter_meets_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"kind must be one of .*got 'simulate'.*'simulated'"):
        prepare(PrepareSettings(kind="simulate"), out=tmp_path)


def test_real_responses_need_their_file(tmp_path):
    with pytest.raises(ArtifactError, match=r"reads a file: give --source kriegeskorte92\.npz"):
        prepare(PrepareSettings(kind="kriegeskorte92"), out=tmp_path)
