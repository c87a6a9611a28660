import numpy as np
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.nsd.masks import read_labels, read_mask, read_voxels
from mindeye2.data.nsd.nsd_settings import NsdSettings
from mindeye2.data.nsd.tree import Tree

ROI = "nsddata/ppdata/subj01/func1pt8mm/roi"


def open_tree(truth, **settings):
    return Tree(truth.root, NsdSettings(**settings))


def test_only_labels_above_0_are_voxels_and_i_changes_slowest(original):
    """-1 is outside the brain: casting the map to bool would take those voxels too."""
    ijk, shape = read_mask(open_tree(original), "subj01")
    assert shape == (6, 5, 4)
    np.testing.assert_array_equal(ijk, np.argwhere(original.subjects["subj01"].label == 1))


@pytest.mark.parametrize("labels", [("V1v", "hV4"), (1, 7)])
def test_labels_are_chosen_by_name_or_number(original, labels):
    tree = open_tree(original, roi="prf-visualrois", roi_labels=labels)
    ijk, _ = read_mask(tree, "subj01")
    visual = original.subjects["subj01"].visual
    np.testing.assert_array_equal(ijk, np.argwhere((visual == 1) | (visual == 7)))


def test_an_unknown_label_is_refused_with_the_known_ones(original):
    tree = open_tree(original, roi="prf-visualrois", roi_labels=("V4",))
    with pytest.raises(ArtifactError, match=r"no label 'V4', but \['Unknown', 'V1d', .*'hV4'\]"):
        read_mask(tree, "subj01")


def test_a_label_without_a_voxel_is_said(original):
    tree = open_tree(original, roi="prf-visualrois", roi_labels=("V3v",))
    with pytest.raises(ArtifactError, match=r"no voxel of \['V3v'\]; it holds the values \[-1, 0"):
        read_mask(tree, "subj01")


def test_names_of_labels_are_read_whatever_stands_around_them(tree):
    """Kastner2015's file has a tab and spaces at line ends."""
    name = "nsddata/freesurfer/subj01/label/Kastner2015.mgz.ctab"
    tree.replace(name, b"0 Unknown \t  \n1\tV1v \t \n\n 25 FEF 10 20 30 0\n")
    found = read_labels(open_tree(tree), "subj01", "Kastner2015")
    assert found == {0: "Unknown", 1: "V1v", 25: "FEF"}


def test_voxels_keep_place_labels_and_reliability(original):
    tree, truth = open_tree(original), original.subjects["subj01"]
    ijk, shape = read_mask(tree, "subj01")
    table = read_voxels(tree, "subj01", ijk, shape=shape)
    np.testing.assert_array_equal(table[["i", "j", "k"]], ijk)
    index = tuple(ijk.T)
    names = {-1: "", 0: "", 1: "V1v", 2: "V1d", 7: "hV4"}
    assert table["prf-visualrois"].tolist() == [names[n] for n in truth.visual[index]]
    areas = {-1: "nsdgeneral", 0: "nsdgeneral", 1: "V1", 2: "V1", 7: "hV4"}
    assert table["roi"].tolist() == [areas[n] for n in truth.visual[index]]
    np.testing.assert_allclose(table["ncsnr"], truth.ncsnr[index], rtol=1e-6)
    assert "floc-faces" not in table  # not downloaded


def test_labels_without_names_are_numbers(tree):
    (tree.root / "nsddata/freesurfer/fsaverage/label/prf-visualrois.mgz.ctab").unlink()
    ijk, shape = read_mask(open_tree(tree), "subj01")
    table = read_voxels(open_tree(tree), "subj01", ijk, shape=shape)
    assert set(table["prf-visualrois"]) == {"", "1", "2", "7"}


def test_a_map_that_was_resampled_is_refused(tree):
    tree.save_nifti(f"{ROI}/nsdgeneral.nii.gz", np.full((6, 5, 4), 0.5))
    with pytest.raises(
        ArtifactError, match=r"nsdgeneral\.nii\.gz holds values that are not whole"
    ):
        read_mask(open_tree(tree), "subj01")


def test_an_atlas_of_another_shape_is_refused(tree):
    """As many voxels in another shape would pass a flattening."""
    tree.save_nifti(f"{ROI}/prf-visualrois.nii.gz", np.ones((4, 5, 6)))
    ijk, shape = read_mask(open_tree(tree), "subj01")
    with pytest.raises(ArtifactError, match=r"has the shape \(4, 5, 6\), .* mask has \(6, 5, 4\)"):
        read_voxels(open_tree(tree), "subj01", ijk, shape=shape)


def test_a_damaged_map_is_named(tree):
    name = f"{ROI}/nsdgeneral.nii.gz"
    tree.replace(name, (tree.root / name).read_bytes()[:60])
    with pytest.raises(ArtifactError, match=r"nsdgeneral\.nii\.gz is damaged"):
        read_mask(open_tree(tree), "subj01")
