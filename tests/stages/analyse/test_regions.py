import numpy as np
import pandas as pd
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared import Prepared
from mindeye2.stages.analyse.regions import early_and_higher, read_regions


@pytest.fixture
def labelled(tmp_path):
    """Return a function that makes a data set with a voxel table and nothing else."""

    def _labelled(**columns):
        (tmp_path / "voxels").mkdir(exist_ok=True)
        pd.DataFrame(columns).to_parquet(tmp_path / "voxels" / "subj01.parquet")
        return Prepared(folder=tmp_path, manifest={"subjects": {"subj01": 3}})

    return _labelled


def read(data, **settings):
    return read_regions(data, "subj01", **{"columns": ("roi",), "min_voxels": 1, **settings})


def test_labels_and_masks_make_regions(labelled):
    data = labelled(roi=["V2", "V1", "", "V1"], faces=[True, False, False, True], i=[0, 1, 2, 3])
    found = read(data, columns=("roi", "faces"))
    assert {k: np.flatnonzero(v).tolist() for k, v in found.items()} == {
        "V1": [1, 3],
        "V2": [0],
        "faces": [0, 3],
    }


def test_a_label_of_a_second_column_keeps_its_own_name(labelled):
    data = labelled(roi=["a", "b"], streams=["b", "a"])
    assert set(read(data, columns=("roi", "streams"))) == {"a", "b", "streams: a", "streams: b"}


def test_small_regions_are_left_out(labelled):
    data = labelled(roi=["V1", "V1", "V2"])
    assert set(read(data, min_voxels=2)) == {"V1"}
    with pytest.raises(ValueError, match=r"no region of subj01 has 3 voxels: .*Lower min_voxels"):
        read(data, min_voxels=3)


def test_missing_labels_say_how_to_add_them(labelled):
    with pytest.raises(ArtifactError, match=r"no labels of regions.*column 'roi'.*table\.voxels"):
        read(labelled(i=[0, 1], roi=["", None]))
    with pytest.raises(ValueError, match=r"no labels in \['floc'\], only in \['roi'\]"):
        read(labelled(roi=["V1"]), columns=("floc",))


def test_early_and_higher_visual_cortex_are_the_paper_s_groups():
    masks = {"V1": np.array([1, 0, 0], bool), "hV4": np.array([0, 1, 0], bool)}
    groups = early_and_higher(masks, n_voxels=3)
    assert list(groups) == ["all", "V1 to V4", "higher visual", "V1", "hV4"]
    assert groups["V1 to V4"].tolist() == [True, True, False]
    assert groups["higher visual"].tolist() == [False, False, True]
    assert list(early_and_higher({"FFA": masks["V1"]}, n_voxels=3)) == ["all", "FFA"]
