import sys

import numpy as np
import pytest

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.data.mindeye2_release import ReleasedSettings, read_released
from mindeye2.data.prepared import open_prepared
from mindeye2.stages.prepare import ReleasedPreparation, prepare


def read(truth, **settings):
    return read_released(truth.root, settings=ReleasedSettings(**settings))


def test_every_trial_has_its_own_betas_and_picture(published):
    dataset = read(published)
    for subject, truth in published.trials.items():
        own = dataset.trials[dataset.trials["subject"] == subject]
        np.testing.assert_array_equal(own["source_image"], truth[:, 0])
        np.testing.assert_array_equal(own["session"], truth[:, 2])
        np.testing.assert_array_equal(dataset.betas[subject][:], published.betas[subject])
    row = dataset.trials.iloc[700]
    image = dataset.images[row["image"] : row["image"] + 1][0]
    np.testing.assert_array_equal(image, published.images[row["source_image"]].transpose(1, 2, 0))


def test_shared_images_are_the_test_and_minus_one_is_unknown(published):
    trials = read(published, subjects=("subj01",)).trials
    np.testing.assert_array_equal(trials["split"] == "test", published.trials["subj01"][:, 16])
    unknown = published.trials["subj01"][:, 15] == -1
    np.testing.assert_array_equal(trials["button"].isna(), unknown)
    assert (trials["trial"] > 0).all()


def test_the_old_test_set_has_fewer_trials_of_the_same_images(published):
    new, old = (
        read(published, subjects=("subj01",), test_set=name).trials
        for name in ("new_test", "test")
    )
    kept = (new["split"] != "test") | (new["session"] < 3)
    assert old["global_trial"].tolist() == new.loc[kept, "global_trial"].tolist()


def test_few_sessions_are_trained_on_and_all_test_trials_stay(published):
    dataset = read(published, subjects=("subj01",), train_sessions=(2,))
    trials = dataset.trials
    assert set(trials.loc[trials["split"] != "test", "session"]) == {2}
    assert set(trials.loc[trials["split"] == "test", "session"]) == {1, 2, 3}
    expected = published.betas["subj01"][trials["global_trial"]]
    np.testing.assert_array_equal(dataset.betas["subj01"][:], expected)
    rows = np.array([0, 5, len(trials) - 1])
    np.testing.assert_array_equal(dataset.betas["subj01"][rows], expected[rows])


def test_published_betas_are_prepared_as_they_are(published, tmp_path):
    settings = ReleasedPreparation(encoders=())
    prepare(settings, source=published.root, out=tmp_path / "out")
    prepared = open_prepared(tmp_path / "out")
    np.testing.assert_array_equal(
        prepared.betas("subj05"), published.betas["subj05"].astype(np.float16)
    )
    assert prepared.n_voxels == {"subj01": 7, "subj05": 5}
    assert "publishers" in read_manifest(tmp_path / "out", stage="prepare")["zscored_by"]


def test_what_published_weights_need_is_said_at_the_start_and_at_the_end(
    published, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(
        "mindeye2.stages.prepare.run.fill_targets", lambda *_, **__: sys.stderr.write("encoded\n")
    )
    wanted = "--set 'encoders=[lite0,bigg]' --set encoder_weights.bigg=FOLDER"
    settings = ReleasedPreparation(encoders=("lite0",))
    prepare(settings, source=published.root, out=tmp_path / "small")
    before, after = capsys.readouterr().err.split("encoded")
    assert wanted in before
    assert wanted in after
    settings = ReleasedPreparation(encoders=("bigg",))
    prepare(settings, source=published.root, out=tmp_path / "bigg")
    assert "Published weights" not in capsys.readouterr().err


def test_what_is_there_is_reported_and_not_refused(published):
    published.write_tar(
        published.root / "wds/subj05/train/1.tar",
        [r for r in published.trials["subj05"] if r[2] == 2 and r[16] == 0][:-9],
    )
    notes = " ".join(read(published).notes)
    assert "Terms-and-Conditions" in notes
    assert "subj01: 3 of 40 sessions to train on" in notes
    assert "subj01: betas of (2250, 7), published are 30000 trials of 15724 voxels" in notes
    assert "subj05: session 2 has 741 of 750 trials" in notes
    assert "Without captions" in notes


def test_captions_are_the_first_that_are_there(published):
    texts = np.array([["", f"image {n}", "b"] for n in range(40)])
    np.save(published.root / "COCO_73k_annots_curated.npy", texts)
    dataset = read(published)
    assert dataset.captions == [f"image {n}" for n in dataset.images.ids]
    np.save(published.root / "COCO_73k_annots_curated.npy", texts.astype(object))
    with pytest.raises(ArtifactError, match="needs pickle, which is not read"):
        read(published)


def test_every_missing_file_is_named_with_where_to_get_it(published):
    (published.root / "wds/subj05/new_test/0.tar").unlink()
    (published.root / "coco_images_224_float16.hdf5").unlink()
    message = r"lacks coco_images_224_float16.hdf5, wds/subj05/new_test/0.tar\. .*hf download psco"
    with pytest.raises(ArtifactError, match=message):
        read(published)
    with pytest.raises(
        ArtifactError, match=r"lacks .*subj07_fp32_renorm.hdf5, wds/subj07/train/0"
    ):
        read(published, subjects=("subj07",))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (1, 2, r"train/0\.tar holds a trial of subject 2"),
        (2, 2, r"session 2, .*which does not belong there"),
        (5, 5000, r"GLOBAL TRIAL 5000"),
        (16, 1, r"shared1000 1, which does not belong .*session 1, not shared"),
    ],
    ids=["subject", "session", "row", "shared"],
)
def test_trials_in_the_wrong_file_are_refused(published, column, value, message):
    rows = np.array([r for r in published.trials["subj01"] if r[2] == 1 and r[16] == 0])
    rows[4, column] = value
    published.write_tar(published.root / "wds/subj01/train/0.tar", rows)
    with pytest.raises(ArtifactError, match=message):
        read(published)


def test_a_trial_that_is_listed_twice_is_refused(published):
    rows = np.array([r for r in published.trials["subj01"] if r[2] == 1 and r[16] == 0])
    rows[4, 5] = rows[3, 5]
    published.write_tar(published.root / "wds/subj01/train/0.tar", rows)
    with pytest.raises(ArtifactError, match=r"GLOBAL TRIAL \d+ of subj01 is listed twice"):
        read(published)


def test_images_that_trials_show_must_be_there(published):
    h5py = pytest.importorskip("h5py")
    with h5py.File(published.root / "coco_images_224_float16.hdf5", "w") as file:
        file["images"] = np.zeros((20, 3, 16, 16), np.float16)
    with pytest.raises(ArtifactError, match=r"holds 20 images, but a trial shows image 39"):
        read(published)
