import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import load_settings
from mindeye2.data.prepared import open_prepared
from mindeye2.data.source_dataset import SourceDataset
from mindeye2.stages.prepare import (
    KINDS,
    ReleasedPreparation,
    SimulatedPreparation,
    TablePreparation,
    prepare,
)


@pytest.fixture
def dataset():
    """Return one subject: 2 sessions of 8 trials, 6 images to train, 2 to test."""
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
    return SourceDataset(
        images=rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8),
        captions=None,
        categories=None,
        trials=trials,
        betas={"subj01": rng.normal(3, 2, (16, 5)).astype(np.float32)},
        voxels={"subj01": pd.DataFrame({"roi": ["V1"] * 5})},
        label="A toy",
    )


@pytest.fixture
def toy(dataset, monkeypatch):
    """Return settings of an adapter that returns the data set."""
    monkeypatch.setitem(KINDS, "table", lambda _settings, _source: dataset)
    return TablePreparation(encoders=())


def test_betas_are_z_scored_by_the_trials_that_are_not_test(prepared):
    betas = np.asarray(prepared.betas("subj02"), np.float64)
    table = prepared.trials_of("subj02")
    fitted = betas[(table["session"] == 2) & (table["split"] != "test")]
    np.testing.assert_allclose(fitted.mean(axis=0), 0, atol=2e-3)
    np.testing.assert_allclose(fitted.std(axis=0), 1, atol=2e-3)


def test_test_trials_do_not_change_the_scaling(toy, dataset, tmp_path):
    prepare(toy, out=tmp_path / "a")
    dataset.betas["subj01"][(dataset.trials["split"] == "test").to_numpy()] += 1000
    prepare(toy, out=tmp_path / "b")
    first, second = (np.load(tmp_path / n / "scaler/subj01.npz") for n in "ab")
    np.testing.assert_array_equal(first["mean"], second["mean"])
    betas = [open_prepared(tmp_path / n).betas("subj01") for n in "ab"]
    train = (dataset.trials["split"] == "train").to_numpy()
    np.testing.assert_array_equal(betas[0][train], betas[1][train])


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (
            (3, 2),
            np.nan,
            r"betas of subj01 hold 1 NaN or infinite values.*row 3, voxel 2",
        ),
        (
            (3, 2),
            np.inf,
            r"betas of subj01 hold 1 NaN or infinite values.*row 3, voxel 2",
        ),
        ((slice(None), 4), 1.0, r"1 voxels of subj01 are constant in session 1.*columns \[4\]"),
    ],
    ids=["NaN", "infinite", "constant"],
)
def test_bad_betas_are_named_and_nothing_is_sealed(toy, dataset, tmp_path, where, value, message):
    dataset.betas["subj01"][where] = value
    with pytest.raises(ArtifactError, match=message):
        prepare(toy, out=tmp_path)
    with pytest.raises(ArtifactError, match="'prepare' did not finish there"):
        open_prepared(tmp_path)


def test_a_full_disk_leaves_no_incomplete_images(toy, dataset, tmp_path, monkeypatch):
    """Or a resumed run would keep it: images that are there are not written again."""

    class Full:
        shape = dataset.images.shape

        def __len__(self):
            return 8

        def __getitem__(self, rows):
            if rows == slice(0, 1):
                return dataset.images[rows]
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        full = dataclasses.replace(dataset, images=Full())
        patch.setitem(KINDS, "table", lambda _settings, _source: full)
        with pytest.raises(OSError, match="No space left"):
            prepare(toy, out=tmp_path)
    prepare(toy, out=tmp_path, resume=True)
    np.testing.assert_array_equal(open_prepared(tmp_path).images, dataset.images)


def test_several_processes_write_the_same_files(toy, dataset, tmp_path, monkeypatch):
    """The number of processes is not recorded, so that a resumed preparation may change it."""
    second = dataset.trials.assign(subject="subj02")
    two = dataclasses.replace(
        dataset,
        trials=pd.concat([dataset.trials, second], ignore_index=True),
        betas=dataset.betas | {"subj02": dataset.betas["subj01"] * 3 + 1},
        voxels=dataset.voxels | {"subj02": dataset.voxels["subj01"]},
    )
    monkeypatch.setitem(KINDS, "table", lambda _settings, _source: two)
    prepare(toy, out=tmp_path / "one")
    prepare(toy.model_copy(update={"processes": 2}), out=tmp_path / "two")
    one, both = (read_manifest(tmp_path / n, stage="prepare") for n in ("one", "two"))
    assert one == both


def test_notes_are_shown_and_recorded(toy, dataset, tmp_path, monkeypatch, capsys):
    noted = dataclasses.replace(dataset, notes=["Terms of use: ask first."])
    monkeypatch.setitem(KINDS, "table", lambda _settings, _source: noted)
    prepare(toy, out=tmp_path)
    assert capsys.readouterr().err == "Terms of use: ask first.\n"
    assert read_manifest(tmp_path, stage="prepare")["notes"] == ["Terms of use: ask first."]


def test_the_source_is_recorded_relative_to_the_folder(toy, tmp_path, monkeypatch):
    (tmp_path / "lab").mkdir()
    monkeypatch.chdir(tmp_path / "lab")
    prepare(toy, out=tmp_path / "data", source=Path())
    config = read_manifest(tmp_path / "data", stage="prepare")["config"]
    assert config["source"] == "../lab"


def test_an_unknown_encoder_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match=r"encoders must be one of .*'lite0'.*got 'lite1'"):
        prepare(SimulatedPreparation(encoders=("lite1",)), out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_an_encoder_that_is_not_asked_for_are_refused(tmp_path):
    settings = load_settings(
        ReleasedPreparation(), assignments=[f"encoder_weights.bigg={tmp_path}"]
    )
    with pytest.raises(ValueError, match=r"weights of \['bigg'\], which are not among"):
        prepare(settings, source=tmp_path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_is_not_filled_twice_by_accident(data, subjects):
    with pytest.raises(ArtifactError, match=r"is not empty\. Add --resume"):
        prepare(subjects, out=data)
    other = subjects.model_copy(update={"seed": 1})
    with pytest.raises(ArtifactError, match=r"started with other settings: \['seed'\] differ"):
        prepare(other, out=data, resume=True)


def test_targets_of_another_encoder_are_added_and_the_rest_is_kept(data, subjects, tmp_path):
    out = Path(shutil.copytree(data, tmp_path / "data"))
    shutil.rmtree(out / "targets" / "lowlevel")

    def written():
        return {p.relative_to(out): p.stat().st_mtime_ns for p in out.rglob("*.npy")}

    before = written()
    more = subjects.model_copy(update={"encoders": ("lowlevel",)})
    prepare(more, out=out, resume=True, device="cpu")
    added = {path: time for path, time in written().items() if path not in before}
    assert set(map(str, added)) == {"targets/lowlevel/values.npy"}
    assert written() == {**before, **added}
    shapes = [
        [open_prepared(d).targets(n).shape for n in ("lite0", "lowlevel")] for d in (data, out)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.slow
def test_targets_of_several_processes_are_the_same_files(data, subjects, tmp_path, launch_command):
    """One of two is killed, three go on."""
    (tmp_path / "settings.yaml").write_text(json.dumps(subjects.model_dump(mode="json")))
    words = ["prepare", "simulated", "--config", tmp_path / "settings.yaml"]
    out = tmp_path / "out"
    codes, errors = launch_command(2, *words, "--out", out, killed=(1, 1))
    assert codes == [3, -9], errors
    assert len(list((out / "targets" / "lite0" / "state").glob("*-*.json"))) == 2  # of 3 batches
    codes, errors = launch_command(3, *words, "--out", out, "--resume")
    assert codes == [0, 0, 0], errors
    manifests = [read_manifest(folder, stage="prepare") for folder in (data, out)]
    assert manifests[0] == manifests[1]
