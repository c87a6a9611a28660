import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.bids.bids_events import find_runs
from mindeye2.data.bids.fmriprep import RunBetas, find_derivative, open_run, read_confounds
from mindeye2.data.bids.single_trial_glm import GlmSettings

BOLD = "desc-preproc_bold.nii.gz"


@pytest.fixture
def run(tmp_path):
    """Return a run whose derivatives have two spaces."""
    folder = tmp_path / "sub-01" / "ses-a" / "func"
    folder.mkdir(parents=True)
    (folder / "sub-01_ses-a_task-look_run-1_events.tsv").touch()
    derived = tmp_path / "derived" / "sub-01" / "ses-a" / "func"
    derived.mkdir(parents=True)
    for space in ("T1w", "MNI152NLin2009cAsym_res-2"):
        (derived / f"sub-01_ses-a_task-look_run-1_space-{space}_{BOLD}").touch()
    (derived / "sub-01_ses-a_task-look_run-1_desc-confounds_timeseries.tsv").touch()
    return find_runs(tmp_path, task=None)[0]


def test_derivatives_share_the_name_of_the_run(run, tmp_path):
    derived = tmp_path / "derived"
    found = find_derivative(derived, run, ending=BOLD, space="T1w")
    assert found.name == f"sub-01_ses-a_task-look_run-1_space-T1w_{BOLD}"
    found = find_derivative(derived, run, ending=BOLD, space="MNI152NLin2009cAsym")
    assert "res-2" in found.name
    table = find_derivative(derived, run, ending="desc-confounds_timeseries.tsv", space="T1w")
    assert table.name == "sub-01_ses-a_task-look_run-1_desc-confounds_timeseries.tsv"


def test_several_spaces_must_be_distinguished(run, tmp_path):
    with pytest.raises(ArtifactError, match=r"has 2 derivatives: .*--set bids\.space=T1w"):
        find_derivative(tmp_path / "derived", run, ending=BOLD)


def test_a_missing_derivative_is_named_with_what_is_there(run, tmp_path):
    with pytest.raises(ArtifactError, match=r"run-1_space-fsaverage\*_desc-preproc.*T1w"):
        find_derivative(tmp_path / "derived", run, ending=BOLD, space="fsaverage")


@pytest.mark.parametrize("where", ["header", "sidecar"])
def test_a_run_is_masked_and_fitted_when_it_is_read(tmp_path, where):
    """With one trial per 30 s and no noise, the largest response is the planted one."""
    pytest.importorskip("nilearn")
    bold = np.full((2, 2, 1, 120), 1000.0, np.float32)
    bold[1, 0, 0, 34:38] += 50  # two volumes after the second trial of three
    image = nib.Nifti1Image(bold, np.eye(4))
    image.header.set_zooms((1, 1, 1, 2.0 if where == "header" else 1.0))
    nib.save(image, tmp_path / "run_bold.nii.gz")
    if where == "sidecar":
        (tmp_path / "run_bold.json").write_text(json.dumps({"RepetitionTime": 2.0}))
    events = pd.DataFrame({"onset": [10.0, 64.0, 120.0], "duration": 4.0})
    part = RunBetas(
        tmp_path / "run_bold.nii.gz",
        None,
        events.assign(image=["a", "b", None]),
        np.array([0, 2]),
        (),
        GlmSettings(),
    )
    assert (part.shape, len(part)) == ((2, 2), 2)
    betas = part[:]
    assert betas.shape == (2, 2)
    assert betas[1, 1] > 3 > 1 > np.abs(betas[[0, 0, 1], [0, 1, 0]]).max()
    np.testing.assert_array_equal(part[1:], betas[1:])


def test_confounds_have_no_gaps_and_no_unknown_names(tmp_path):
    path = tmp_path / "confounds.tsv"
    path.write_text("trans_x\ttrans_x_derivative1\n0.1\tn/a\n0.2\t0.1\n")
    found = read_confounds(path, ("trans_x", "trans_x_derivative1"))
    assert found.to_numpy().tolist() == [[0.1, 0.0], [0.2, 0.1]]
    with pytest.raises(
        ArtifactError, match=r"no confounds \['trans_y'\]; the nearest are \['trans_x"
    ):
        read_confounds(path, ("trans_x", "trans_y"))


def test_volumes_must_be_a_run(tmp_path):
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4)), path)
    with pytest.raises(ArtifactError, match=r"shape \(2, 2, 2\); a run has four axes"):
        open_run(path)
    path.write_bytes(b"nothing" * 100)
    with pytest.raises(ArtifactError, match=r"a\.nii is damaged or no NIfTI file"):
        open_run(path)
