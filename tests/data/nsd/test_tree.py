import numpy as np
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.nsd.nsd_settings import NsdSettings
from mindeye2.data.nsd.tree import Tree, find_subjects


def find(truth, **settings):
    return find_subjects(Tree(truth.root, NsdSettings(**settings)))


def test_sessions_are_found_and_maps_beside_them_are_not_taken_for_any(original):
    found = find(original)
    assert {s: list(files) for s, files in found.items()} == {
        "subj01": [1, 2, 39],
        "subj04": [1, 28],
    }
    assert {p.name[:13] for files in found.values() for p in files.values()} == {"betas_session"}


def test_hdf5_is_read_where_both_formats_are_there_unless_asked_otherwise(tree):
    tree.save_betas(f"{tree.betas_folder}/betas_session02.nii.gz", np.zeros((6, 5, 4, 750), "i2"))
    assert find(tree)["subj01"][2].suffix == ".hdf5"
    found = find(tree, file_format="nii.gz", subjects=("subj01",))
    assert [p.name for p in found["subj01"].values()] == ["betas_session02.nii.gz"]


def test_sessions_beyond_what_a_subject_has_in_the_release_are_not_missed(original):
    found = find(original, train_sessions=(1, 39), test_sessions=(1,), subjects=("subj01",))
    assert list(found["subj01"]) == [1, 39]
    assert list(
        find(original, train_sessions=(1, 39), test_sessions=(1,), subjects=("subj04",))["subj04"]
    ) == [1]


def test_every_missing_file_is_named_with_where_to_get_it(tree):
    (tree.root / "nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz").unlink()
    (tree.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5").unlink()
    (tree.root / "nsddata/ppdata/subj01/behav/responses.tsv").unlink()
    (tree.root / "nsddata/experiments/nsd/nsd_expdesign.mat").unlink()
    with pytest.raises(ArtifactError) as error:
        find(tree, train_sessions=(1, 3), test_sessions=(1,), subjects=("subj01",))
    message = str(error.value)
    for name in (
        "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5",
        "betas_session03.hdf5",
        "subj01/func1pt8mm/roi/nsdgeneral.nii.gz",
        "subj01/behav/responses.tsv",
        "aws s3 cp --no-sign-request s3://natural-scenes-dataset/nsddata_stimuli",
        "Terms-and-Conditions",
    ):
        assert name in message
    assert "betas_session01" not in message


def test_an_empty_folder_is_refused_with_what_it_lacks(tmp_path):
    with pytest.raises(ArtifactError, match=r"lacks .*nsd_stimuli\.hdf5.*betas_session01\.hdf5"):
        find_subjects(Tree(tmp_path, NsdSettings()))


def test_a_subject_that_the_release_does_not_have_is_refused_with_those_it_has(original):
    with pytest.raises(ValueError, match=r"nsd\.subjects must be one of .*'subj08'.*got 'subj1'"):
        find(original, subjects=("subj1",))
