import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import build_settings
from mindeye2.data.bids import BidsSettings, read_bids, read_responses
from mindeye2.data.prepared.consistency import check_trials

pytest.importorskip("nilearn", reason="nilearn is not installed: pip install 'mindeye2[bids]'")

SHAPE, TR, VOLUMES = (4, 3, 2), 2.0, 120
ONSETS = np.arange(10) * 20.0 + 6


def settings(**values):
    values = {"confounds": [], "stimuli": {"size": 32}, **values}
    return build_settings(BidsSettings, values)


def response(onset):
    """Return a plain bump 3 to 10 s after the onset: no model of anybody's."""
    times = (np.arange(VOLUMES) + 0.5) * TR - onset
    return np.exp(-((times - 6.5) ** 2) / 8)


@pytest.fixture
def planted():
    """Return the response of 10 images in 24 voxels, the same for all subjects."""
    return np.random.default_rng(0).normal(0, 1, (10, 24))


@pytest.fixture
def mask():
    inside = np.ones(SHAPE, bool)
    inside[0, 0, 0] = inside[3, 2, 1] = False
    return inside


def write_run(root, label, session, run, *, planted, mask):
    """Write one run: events, and volumes with mask and confounds as fMRIPrep names them."""
    rng = np.random.default_rng([int(label), session, run])
    shown = rng.permutation(10)
    stem = f"sub-{label}_ses-{session}_task-look_run-{run}"
    folder = root / f"sub-{label}" / f"ses-{session}" / "func"
    folder.mkdir(parents=True, exist_ok=True)
    rows = pd.DataFrame(
        {"onset": ONSETS, "duration": 3.0, "stim_file": [f"p{i}.png" for i in shown]}
    )
    rows.loc[len(rows)] = [226.0, 3.0, "n/a"]  # a blank trial
    rows.to_csv(folder / f"{stem}_events.tsv", sep="\t", index=False)
    motion = rng.normal(size=(VOLUMES, 2))
    signal = sum(np.outer(response(t), planted[i]) for t, i in zip(ONSETS, shown, strict=True))
    noise = rng.normal(0, 0.2, (VOLUMES, 24)) + motion @ rng.normal(0, 0.5, (2, 24))
    bold = 800 * (1 + (signal + noise) / 100) * mask.ravel()
    derived = root / "derivatives" / "fmriprep" / folder.relative_to(root)
    derived.mkdir(parents=True, exist_ok=True)
    volumes = bold.T.reshape(*SHAPE, VOLUMES).astype("f4")
    image = nib.Nifti1Image(volumes, np.eye(4))
    image.header.set_zooms((2, 2, 2, TR))
    nib.save(image, derived / f"{stem}_space-T1w_desc-preproc_bold.nii.gz")
    brain = nib.Nifti1Image(mask.astype("u1"), np.eye(4))
    nib.save(brain, derived / f"{stem}_space-T1w_desc-brain_mask.nii.gz")
    table = pd.DataFrame(motion, columns=["trans_x", "rot_y"])
    table.to_csv(derived / f"{stem}_desc-confounds_timeseries.tsv", sep="\t", index=False)


@pytest.fixture
def tree(tmp_path, planted, mask):
    """Return a BIDS folder of 2 subjects, 2 sessions, 3 runs."""
    (tmp_path / "stimuli").mkdir()
    for i in range(10):
        Image.new("RGB", (32, 32), (20 * i, 0, 0)).save(tmp_path / "stimuli" / f"p{i}.png")
    for label in ("01", "02"):
        for session, run in ((1, 1), (2, 1), (2, 2)):
            write_run(tmp_path, label, session, run, planted=planted, mask=mask)
    return tmp_path


@pytest.mark.parametrize("model", ["lsa", "lss"])
def test_planted_responses_come_back_trial_by_trial(tree, planted, mask, model):
    confounds = ["trans_x", "rot_y"]
    found = read_bids(tree, settings=settings(glm={"model": model}, confounds=confounds))
    check_trials(found.trials, n_images=10)
    assert list(found.betas) == ["sub-01", "sub-02"]
    for subject, rows in found.betas.items():
        own = found.trials[found.trials["subject"] == subject]
        assert own[["session", "run"]].drop_duplicates().to_numpy().tolist() == [
            [1, 1], [2, 1], [2, 2],
        ]  # fmt: skip
        names = own["source_image"].tolist()
        expected = planted[[int(name[1]) for name in names]][:, mask.ravel()]
        values = rows[:]
        assert np.corrcoef(values.ravel(), expected.ravel())[0, 1] > 0.95
        np.testing.assert_array_equal(rows[20:], values[20:])
    indices = found.voxels["sub-01"][["i", "j", "k"]].to_numpy()
    assert indices.tolist() == np.argwhere(mask).tolist()


def test_only_voxels_in_every_run_s_mask_are_taken(tree, mask):
    smaller = mask.copy()
    smaller[1, 1, 1] = False
    path = next((tree / "derivatives").rglob("sub-02*run-2*brain_mask.nii.gz"))
    nib.save(nib.Nifti1Image(smaller.astype("u1"), np.eye(4)), path)
    found = read_responses(tree, settings=settings())
    assert [b.shape[1] for b in found.betas.values()] == [22, 21]


def test_a_mask_and_regions_of_one_s_own_may_be_given(tree):
    for subject, column in (("sub-01", 1), ("sub-02", 2)):
        own = np.zeros(SHAPE, "u1")
        own[column] = 1
        nib.save(nib.Nifti1Image(own, np.eye(4)), tree / f"{subject}_roi.nii.gz")
    values = settings(mask="{subject}_roi.nii.gz", rois={"area": "{subject}_roi.nii.gz"})
    found = read_responses(tree, settings=values)
    assert {s: set(v["i"]) for s, v in found.voxels.items()} == {"sub-01": {1}, "sub-02": {2}}
    assert (found.voxels["sub-02"]["area"] == 1).all()


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (
            "sub-01_ses-2*run-2*_desc-preproc_bold*",
            r"no sub-01_ses-2_task-look_run-2.*bold\.nii\.gz",
        ),
        ("sub-01_ses-2*run-2*_desc-brain_mask*", r"the mask .*run-2.*brain_mask.* does not exist"),
        ("sub-02*run-1*confounds*", r"no sub-02_ses-1_task-look_run-1.*confounds_timeseries\.tsv"),
    ],
)
def test_a_missing_file_is_named_before_anything_is_fitted(tree, pattern, message):
    min((tree / "derivatives").rglob(pattern)).unlink()
    with pytest.raises(ArtifactError, match=message):
        read_bids(tree, settings=settings(confounds=["trans_x"]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"derivatives": "prep"}, r"no folder .*prep\. Run fMRIPrep, or .*bids\.derivatives"),
        ({"confounds": ["trans_q"]}, r"no confounds \['trans_q'\]; the nearest are \['trans_x'\]"),
        ({"images": "pics"}, r"the folder of images .*pics does not exist"),
        ({"events": {"image": "photo"}}, r"no column \['photo'\]; it has .*events\.image"),
        ({"space": "MNI"}, r"no sub-01_ses-1_task-look_run-1_space-MNI\*"),
        ({"mask": "roi.nii"}, r"the mask .*roi\.nii does not exist"),
    ],
)
def test_a_wrong_setting_is_named(tree, values, message):
    with pytest.raises(ArtifactError, match=message):
        read_bids(tree, settings=settings(**values))


def test_runs_on_different_grids_are_refused(tree):
    path = next((tree / "derivatives").rglob("sub-01_ses-2*run-2*preproc_bold.nii.gz"))
    nib.save(nib.Nifti1Image(np.ones((5, 3, 2, 9), "f4"), np.eye(4)), path)
    with pytest.raises(ArtifactError, match=r"\(5, 3, 2\), but the mask .* has \(4, 3, 2\)"):
        read_bids(tree, settings=settings())


def test_glmsingle_is_recommended_where_it_is_installed(tree, monkeypatch):
    assert read_bids(tree, settings=settings()).notes == []
    found = {"glmsingle": object()}
    monkeypatch.setattr("mindeye2.data.bids.bids_reader.importlib.util.find_spec", found.get)
    (note,) = read_bids(tree, settings=settings()).notes
    assert "mindeye2 prepare glmsingle" in note


def test_runs_inherit_a_table_of_events_at_the_root(tree):
    """Nilearn reads such a data set as one without events."""
    own = sorted(tree.glob("sub-*/*/func/*_events.tsv"))
    text, before = own[0].read_text(), read_responses(tree, settings=settings())
    for path in own:
        path.unlink()
    (tree / "task-look_events.tsv").write_text(text)
    found = read_responses(tree, settings=settings())
    assert found.trials.groupby("subject").size().tolist() == [30, 30]
    assert found.trials["image"].tolist() == before.trials["image"].tolist()[:10] * 6
    np.testing.assert_array_equal(found.betas["sub-01"][:10], before.betas["sub-01"][:10])
