import numpy as np
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import build_settings
from mindeye2.data.prepared import open_prepared
from mindeye2.data.prepared.consistency import check_trials
from mindeye2.data.things_fmri import ThingsFmriSettings, read_things_fmri
from mindeye2.stages.prepare import ThingsFmriPreparation, prepare


def settings(**values):
    given = {"roi": ["V2", "lFFA"], "stimuli": {"size": 32}, **values}
    return build_settings(ThingsFmriSettings, given)


def read(things, **values):
    return read_things_fmri(things.root, settings=settings(**values))


def test_responses_are_those_of_the_chosen_voxels_trial_by_trial(things):
    dataset = read(things)
    for subject, own in things.subjects.items():
        expected = own.values[6:18].T.astype("f4")
        np.testing.assert_array_equal(dataset.betas[subject][:], expected)
        some = np.array([3, 4, 20])
        np.testing.assert_array_equal(dataset.betas[subject][some], expected[some])
        voxels = dataset.voxels[subject]
        assert voxels["roi"].tolist() == ["V2"] * 6 + ["lFFA"] * 6
        assert voxels[["i", "j", "k"]].iloc[0].tolist() == [1, 0, 3]
    everything = read(things, roi=[])
    assert everything.betas["sub-01"].shape == (48, 30)
    assert everything.voxels["sub-01"]["glasser"].tolist() == ["V1"] * 6 + [""] * 24


def test_the_repeated_images_are_the_test(things):
    dataset = read(things)
    check_trials(dataset.trials, n_images=len(dataset.images))
    test = dataset.trials["source_image"].str.endswith("_99s.jpg")
    assert ((dataset.trials["split"] == "test") == test).all()
    assert dataset.trials.loc[test, "repeat"].max() == 2
    shown = dataset.trials.drop_duplicates("image").sort_values("image")
    assert dataset.categories == shown["concept"].str.replace("_", " ").tolist()
    for row in (0, 11):
        colour = things.colours[shown["source_image"].iloc[row]]
        assert tuple(dataset.images[row : row + 1][0, 5, 5]) == colour


def test_voxels_are_chosen_by_noise_ceiling(things):
    dataset = read(things, subjects=["sub-02"], roi=[], min_noise_ceiling=20)
    ceiling = things.subjects["sub-02"].voxels["nc_singletrial"]
    np.testing.assert_allclose(
        dataset.voxels["sub-02"]["nc_singletrial"], ceiling[ceiling >= 20], rtol=1e-6
    )


def test_the_release_becomes_a_data_set(things, tmp_path):
    chosen = ThingsFmriPreparation(encoders=(), things_fmri=settings())
    prepare(chosen, source=things.root, out=tmp_path / "out")
    prepared = open_prepared(tmp_path / "out")
    own, trials = things.subjects["sub-01"], prepared.trials_of("sub-01")
    rows = trials.index[trials["session"] == 2]
    values = own.values[6:18].T[rows]
    fitted = values[(trials.loc[rows, "split"] != "test").to_numpy()]
    scaled = (values - fitted.mean(0)) / fitted.std(0)
    np.testing.assert_allclose(prepared.betas("sub-01")[rows], scaled, atol=4e-3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"roi": ["V9"]}, r"no region \['V9'\]; they have \[.*'V1', 'V2', 'lFFA', 'IT'\]"),
        ({"min_noise_ceiling": 99}, r"no voxel of sub-01 is in \['V2', 'lFFA'\] with"),
        ({"subjects": ["sub-03"]}, r"lacks betas_csv/sub-03_ResponseData\.h5.*figshare"),
        ({"images": "elsewhere"}, r"elsewhere does not exist.*things_fmri\.images=FOLDER"),
    ],
)
def test_a_wrong_setting_is_named(things, values, message):
    with pytest.raises(ArtifactError, match=message):
        read(things, **values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[1:], r"does not count trial_id from 0 without gaps"),
        (lambda t: t[:-1], r"the metadata beside it have 30 voxels and 47 trials"),
        (lambda t: t.assign(trial_type="catch"), r"trials of the type 'catch'"),
        (lambda t: t.drop(columns="concept"), r"no column \['concept'\]; it has"),
        (lambda t: t.assign(run=t["run"].where(t.index < 47)), r"lacks values in line 49"),
    ],
)
def test_trials_that_do_not_fit_the_responses_are_refused(things, change, message):
    path = things.folder / "sub-01_StimulusMetadata.csv"
    change(things.subjects["sub-01"].table).to_csv(path, index=False)
    with pytest.raises(ArtifactError, match=message):
        read(things)


def test_a_response_file_that_was_cut_off_is_named(things):
    path = things.folder / "sub-02_ResponseData.h5"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ArtifactError, match=r"sub-02_ResponseData\.h5 \(3000 bytes\) is damaged"):
        read(things)
