import numpy as np
import pytest

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.data.nsd import NsdSettings, read_nsd
from mindeye2.data.prepared import open_prepared
from mindeye2.doctor import doctor
from mindeye2.stages.prepare import NsdPreparation, prepare


def read(truth, **settings):
    return read_nsd(truth.root, settings=NsdSettings(image_size=32, **settings))


def expected(truth, subject):
    """Return a subject's betas as the release means them."""
    own = truth.subjects[subject]
    return np.concatenate([own.betas[s][own.label == 1].T for s in sorted(own.betas)]) / 300


def test_betas_are_those_of_the_files_trial_by_trial(original):
    dataset = read(original)
    for subject in ("subj01", "subj04"):
        betas, truth = dataset.betas[subject], expected(original, subject)
        assert betas.shape == truth.shape
        np.testing.assert_allclose(betas[:], truth, rtol=1e-6)
        np.testing.assert_allclose(betas[700:800], truth[700:800], rtol=1e-6)


def test_every_trial_has_the_image_that_was_shown(tree):
    dataset = read(tree)
    rows = dataset.trials.sample(20, random_state=0).sort_values("image")
    assert (rows["source_image"].to_numpy() == dataset.images.ids[rows["image"]]).all()
    shown = dataset.images[np.unique(rows["image"])]
    for image, number in zip(shown, np.unique(rows["source_image"]), strict=True):
        np.testing.assert_array_equal(image[5, 5], tree.colour(number))


def test_shared_images_are_the_test_and_no_other_is(original):
    trials = read(original).trials
    np.testing.assert_array_equal(trials["split"] == "test", trials["10KID"] <= 1000)
    assert trials.groupby("image")["split"].nunique().max() == 1
    validation = trials[trials["split"] == "validation"]
    assert validation.groupby("subject")["image"].nunique().tolist() == [2, 2]


def test_repeats_are_counted_among_the_sessions_that_are_there(original):
    trials = read(original, subjects=("subj01",)).trials
    assert (trials.groupby("image")["repeat"].max() + 1 == trials.groupby("image").size()).all()
    late = read(original, subjects=("subj01",), train_sessions=(39,), test_sessions=(39,)).trials
    assert set(late["session"]) == {39}
    assert late["repeat"].min() == 0


def test_training_sessions_and_test_trials_are_chosen_apart(original, tmp_path):
    """The paper's one hour: training trials of session 1, test trials of every session."""
    whole = read(original, subjects=("subj01",)).trials.query("split == 'test'")
    nsd = NsdSettings(image_size=32, subjects=("subj01",), train_sessions=(1,))
    prepare(NsdPreparation(encoders=(), nsd=nsd), source=original.root, out=tmp_path)
    prepared = open_prepared(tmp_path)
    trials = prepared.trials_of("subj01")
    test = (trials["split"] == "test").to_numpy()
    assert trials.loc[test, "trial"].tolist() == whole["trial"].tolist()
    assert set(trials.loc[test, "session"]) == {1, 2, 39}
    assert set(trials.loc[~test, "session"]) == {1}
    assert prepared.images_of("test").tolist() == sorted(set(trials.loc[test, "image"]))
    assert len(prepared.images) == trials["image"].nunique()
    # Sessions of which only test trials are kept are z-scored on their other trials.
    everything = read(original, subjects=("subj01",)).trials
    truth = expected(original, "subj01")
    second = (everything["session"] == 2).to_numpy()
    fitted = truth[second & (everything["split"] != "test").to_numpy()]
    shown = truth[second & (everything["split"] == "test").to_numpy()]
    scaled = (shown - fitted.mean(axis=0)) / fitted.std(axis=0)
    rows = trials.index[trials["session"] == 2]
    np.testing.assert_allclose(prepared.betas("subj01")[rows], scaled, atol=4e-3)
    found = doctor(tmp_path).findings
    assert {f.level for f in found if f.check == "fitted on"} == {"ok"}
    assert "error" not in {f.level for f in found if f.check == "counts"}


def test_test_sessions_are_chosen_apart_from_training_sessions(original):
    trials = read(original, subjects=("subj01",), test_sessions=(2,)).trials
    assert set(trials.loc[trials["split"] == "test", "session"]) == {2}
    assert set(trials.loc[trials["split"] == "train", "session"]) == {1, 2, 39}


def test_validation_images_do_not_depend_on_who_else_is_prepared(original):
    both, one = read(original), read(original, subjects=("subj04",))
    chosen = [
        set(
            r.trials.loc[
                r.trials["subject"].eq("subj04") & r.trials["split"].eq("validation"),
                "source_image",
            ]
        )
        for r in (both, one)
    ]
    assert chosen[0] == chosen[1]


def test_the_older_protocol_leaves_late_test_trials_out_and_trains_on_none(original):
    new = read(original, subjects=("subj01",))
    old = read(original, subjects=("subj01",), protocol=982)
    kept = ~new.trials["shared1000"] | new.trials["protocol_982"]
    assert 0 < (~kept).sum() < 750
    assert old.trials["source_image"].tolist() == new.trials.loc[kept, "source_image"].tolist()
    assert (old.trials.query("split != 'test'")["10KID"] > 1000).all()
    np.testing.assert_allclose(old.betas["subj01"][:], new.betas["subj01"][:][kept], rtol=1e-6)


def test_what_is_there_is_reported_and_not_refused(original):
    dataset = read(original)
    notes = " ".join(dataset.notes)
    assert "subj01: 3 of 40 sessions, 2250 trials" in notes
    assert "15724 in the release" in notes
    assert "no labels of prf-eccrois" in notes
    assert "Without captions" in notes
    assert "Terms-and-Conditions" in dataset.notes[0]
    counts = dataset.facts["counts"]["subj04"]
    assert counts["sessions"] == [1, 28]
    assert counts["test_images"] == 20
    assert counts["test_trials_of_protocol_982"] < counts["test_trials"]


def test_captions_are_taken_where_they_are_given(tree, tmp_path):
    ids = read(tree).images.ids
    tree.write_captions(tree.root / "nsddata_stimuli/stimuli/nsd/annotations", ids)
    assert read(tree).captions == [f"A photo of {n}." for n in ids]
    with pytest.raises(ArtifactError, match=r"captions_\w+\.json does not exist"):
        read(tree, captions=tmp_path / "nowhere")


def test_a_download_becomes_a_prepared_data_set(original, tmp_path, capsys):
    settings = NsdPreparation(encoders=(), nsd=NsdSettings(image_size=32))
    prepare(settings, source=original.root, out=tmp_path)
    assert "Terms-and-Conditions" in capsys.readouterr().err
    prepared = open_prepared(tmp_path)
    truth = expected(original, "subj04").reshape(2, 750, -1)
    used = (prepared.trials_of("subj04")["split"] != "test").to_numpy().reshape(2, 750)
    for session in range(2):
        fitted = truth[session][used[session]]
        scaled = (truth[session] - fitted.mean(0)) / fitted.std(0)
        written = prepared.betas("subj04")[750 * session : 750 * (session + 1)]
        np.testing.assert_allclose(written, scaled, atol=4e-3)
    assert prepared.images.shape == (100, 32, 32, 3)
    assert read_manifest(tmp_path, stage="prepare")["protocol"] == 1000


def test_a_voxel_without_signal_in_a_session_is_named_before_it_is_nan(tree, tmp_path):
    """Missing voxels are 0 in a session: their SD is 0, and z-scoring would make NaN of them."""
    betas = tree.subjects["subj01"].betas[2].copy()
    first = tuple(np.argwhere(tree.subjects["subj01"].label == 1)[0])
    betas[first] = 0
    tree.save_betas(f"{tree.betas_folder}/betas_session02.hdf5", betas)
    settings = NsdPreparation(encoders=(), nsd=NsdSettings(image_size=32, subjects=("subj01",)))
    with pytest.raises(ArtifactError, match=r"1 voxels of subj01 are constant in session 2 \(col"):
        prepare(settings, source=tree.root, out=tmp_path / "refused")
    settings = settings.model_copy(update={"constant_voxels": "zero"})
    prepare(settings, source=tree.root, out=tmp_path / "zero")
    voxels = open_prepared(tmp_path / "zero").voxels("subj01")
    assert voxels["constant_sessions"].tolist() == [1] + [0] * (len(voxels) - 1)
