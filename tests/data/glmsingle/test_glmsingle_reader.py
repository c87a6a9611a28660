import os

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import build_settings
from mindeye2.data.glmsingle import GlmsingleSettings, read_glmsingle
from mindeye2.data.prepared.consistency import check_trials

SHAPE = (3, 4, 2)
STEM = "TYPED_FITHRF_GLMDENOISE_RR"
SHOWN = [f"p{i:02d}" for i in range(10)] * 2  # the images of a session, 2 runs of 10


def settings(**values):
    return build_settings(GlmsingleSettings, {"stimuli": {"size": 32}, **values})


@pytest.fixture
def mask(tmp_path):
    """Return a mask of 6 voxels, which is saved at the top of the source."""
    inside = np.zeros(SHAPE, bool)
    inside.flat[[1, 5, 6, 11, 17, 22]] = True
    nib.save(nib.Nifti1Image(inside.astype("u1"), np.eye(4)), tmp_path / "mask.nii.gz")
    return inside


@pytest.fixture
def betas():
    """Return planted responses of 2 subjects in 2 sessions, by folder."""
    rng = np.random.default_rng(0)
    names = [f"sub-{subject}/ses-{session}" for subject in ("01", "02") for session in (1, 2)]
    return {name: rng.normal(size=(*SHAPE, 20)).astype("f4") for name in names}


@pytest.fixture
def outputs(tmp_path, betas, mask):  # noqa: ARG001 - the mask is saved there
    """Return a folder of GLMsingle's outputs and images, without tables of trials."""
    (tmp_path / "images").mkdir()
    for i in range(10):
        Image.new("RGB", (32, 32), (20 * i, 0, 0)).save(tmp_path / "images" / f"p{i:02d}.png")
    order = {"stimorder": [*range(10)] * 2, "numtrialrun": [10, 10], "tr": 1.5, "stimdur": 3.0}
    for name, values in betas.items():
        folder = tmp_path / name
        folder.mkdir(parents=True)
        np.save(folder / f"{STEM}.npy", {"betasmd": values})
        np.save(folder / "DESIGNINFO.npy", order)
    return tmp_path


@pytest.fixture
def tables(outputs, betas):
    """Return the folder with a table of trials in each output."""
    table = pd.DataFrame({"image": SHOWN, "run": [1] * 10 + [2] * 10})
    for name in betas:
        table.to_csv(outputs / name / "trials.csv", index=False)
    return outputs


def write_events(root, name, shown, *, blanks=False):
    labels = name.replace("/", "_")
    folder = root / name / "func"
    folder.mkdir(parents=True, exist_ok=True)
    for run in (1, 2):
        rows = [(4.0 * i, 3.0, image) for i, image in enumerate(shown[10 * run - 10 : 10 * run])]
        rows += [(100.0, 3.0, "n/a")] if blanks else []
        table = pd.DataFrame(rows[::-1], columns=["onset", "duration", "stim_file"])
        file = folder / f"{labels}_task-look_run-{run}_events.tsv"
        table.to_csv(file, sep="\t", index=False)


def check(found, betas, mask):
    """Every row of betas is what was planted for that subject, session and trial."""
    check_trials(found.trials, n_images=10)
    assert list(found.betas) == ["sub-01", "sub-02"]
    for subject, rows in found.betas.items():
        own = [v for name, v in betas.items() if name.startswith(subject)]
        expected = np.concatenate([values[mask].T for values in own])
        np.testing.assert_array_equal(rows[:], expected)
        trials = found.trials[found.trials["subject"] == subject]
        assert trials["source_image"].tolist() == SHOWN * 2
        assert trials["session"].tolist() == [1] * 20 + [2] * 20
        assert trials["run"].tolist() == ([1] * 10 + [2] * 10) * 2
        assert trials["repeat"].tolist() == np.repeat([0, 1, 2, 3], 10).tolist()


def test_planted_responses_come_back_with_their_trials(tables, betas, mask):
    found = read_glmsingle(tables, settings=settings())
    check(found, betas, mask)
    indices = found.voxels["sub-01"][["i", "j", "k"]].to_numpy()
    assert indices.tolist() == np.argwhere(mask).tolist()
    facts = found.facts["glmsingle"][f"sub-01/ses-1/{STEM}.npy"]
    assert facts == {"version": "not recorded by GLMsingle", "stimdur": 3.0, "tr": 1.5}


def test_one_table_at_the_top_serves_all_subjects(outputs, betas, mask):
    rows = [(*name.split("/ses-"), image) for name in betas for image in SHOWN]
    table = pd.DataFrame(rows, columns=["subject", "session", "stim"])
    table["run"] = ([1] * 10 + [2] * 10) * 4
    table = table.sort_values(["session", "subject"], kind="stable")  # subjects interleaved
    table.to_csv(outputs / "trials.csv", index=False)
    check(read_glmsingle(outputs, settings=settings(columns={"image": "stim"})), betas, mask)


@pytest.mark.parametrize("blanks", [False, True], ids=["images only", "with blank trials"])
def test_events_are_the_trials_where_there_is_no_table(outputs, betas, mask, tmp_path, blanks):
    for name in betas:
        write_events(tmp_path / "bids", name, SHOWN, blanks=blanks)
    check(read_glmsingle(outputs, settings=settings(bids="bids")), betas, mask)


def test_blank_trials_that_were_modelled_are_left_out_on_both_sides(outputs, betas, mask):
    for name, values in betas.items():
        write_events(outputs / "bids", name, SHOWN, blanks=True)
        with_blanks = np.insert(values, [10, 20], 99.0, axis=3)
        np.save(outputs / name / f"{STEM}.npy", {"betasmd": with_blanks})
        order = [*range(10), 10] * 2
        np.save(outputs / name / "DESIGNINFO.npy", {"stimorder": order, "numtrialrun": [11, 11]})
    check(read_glmsingle(outputs, settings=settings(bids="bids")), betas, mask)


def test_one_output_folder_is_one_subject(tables, betas, mask):
    (tables / "sub-01/ses-1/mask.nii.gz").write_bytes((tables / "mask.nii.gz").read_bytes())
    (tables / "images").rename(tables / "sub-01/ses-1/images")
    found = read_glmsingle(tables / "sub-01/ses-1", settings=settings())
    assert list(found.betas) == ["subj01"]
    np.testing.assert_array_equal(found.betas["subj01"][:], betas["sub-01/ses-1"][mask].T)


def test_without_a_mask_voxels_that_never_vary_are_left_out(tables, betas):
    (tables / "mask.nii.gz").unlink()
    flat = betas["sub-01/ses-1"].reshape(24, 20)
    flat[3], flat[4, 7], flat[5] = 0, np.nan, np.inf
    np.save(tables / "sub-01/ses-1" / f"{STEM}.npy", {"betasmd": betas["sub-01/ses-1"]})
    found = read_glmsingle(tables, settings=settings())
    assert (found.betas["sub-01"].shape, found.betas["sub-02"].shape) == ((40, 21), (40, 24))
    assert np.isfinite(found.betas["sub-01"][:]).all()


def test_regions_become_columns(tables, mask):
    labels = np.arange(24, dtype="i2").reshape(SHAPE)
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tables / "sub-01" / "area.nii.gz")
    (tables / "sub-02" / "area.nii.gz").symlink_to(tables / "sub-01" / "area.nii.gz")
    found = read_glmsingle(tables, settings=settings(rois={"area": "area.nii.gz"}))
    assert found.voxels["sub-02"]["area"].tolist() == labels[mask].tolist()


def test_trials_in_another_order_than_glmsingle_s_are_refused(tables):
    path = tables / "sub-02/ses-1/trials.csv"
    pd.read_csv(path).sample(frac=1, random_state=0).to_csv(path, index=False)
    with pytest.raises(ArtifactError, match=r"not in the order of GLMsingle's trials.*p\d\d"):
        read_glmsingle(tables, settings=settings())


def test_other_counts_are_named_by_run(outputs, betas):
    for name in betas:
        write_events(outputs / "bids", name, SHOWN[:-1])
    message = r"has 20 trials, by run \[10, 10\], but the events of sub-01 .* 19, by run \[10, 9\]"
    with pytest.raises(ArtifactError, match=message):
        read_glmsingle(outputs, settings=settings(bids="bids"))


class Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_result_that_wants_to_run_code_is_refused_without_running(tables, tmp_path):
    trap = {"betasmd": Runs(tmp_path / "ran")}
    np.save(tables / "sub-01/ses-2" / f"{STEM}.npy", trap)
    with pytest.raises(ArtifactError, match=r"mkdir, which could run code"):
        read_glmsingle(tables, settings=settings())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "C"}, r"no TYPEC_FITHRF_GLMDENOISE\.npy.*--set glmsingle\.kind=D"),
        ({"mask": "brain.nii"}, r"no mask brain\.nii in .*sub-01/ses-1 or above it"),
        ({"rois": {"V1": "v1.nii"}}, r"no region v1\.nii in"),
        (
            {"trials": "t.csv"},
            r"no trials for .*t\.csv and .*t\.csv do not exist.*glmsingle\.bids",
        ),
        ({"images": "stim"}, r"the folder of images .*stim does not exist"),
        ({"trials": "t.csv", "bids": "b"}, r"b has no events: no file sub-01/"),
    ],
)
def test_what_is_missing_is_named_with_where_to_get_it(tables, values, message):
    with pytest.raises(ArtifactError, match=message):
        read_glmsingle(tables, settings=settings(**values))


def test_a_mask_of_another_grid_is_refused(tables):
    nib.save(nib.Nifti1Image(np.ones((4, 3, 2), "u1"), np.eye(4)), tables / "mask.nii.gz")
    with pytest.raises(ArtifactError, match=r"shape \(4, 3, 2\), but the betas in .*\(3, 4, 2\)"):
        read_glmsingle(tables, settings=settings())


def test_the_version_in_a_bids_description_is_recorded(tables):
    made_by = '{"GeneratedBy": [{"Name": "GLMsingle", "Version": "1.2"}]}'
    (tables / "sub-01" / "dataset_description.json").write_text(made_by)
    facts = read_glmsingle(tables, settings=settings()).facts["glmsingle"]
    versions = {name: found["version"] for name, found in facts.items()}
    assert versions[f"sub-01/ses-2/{STEM}.npy"] == "1.2"
    assert versions[f"sub-02/ses-2/{STEM}.npy"] == "not recorded by GLMsingle"
