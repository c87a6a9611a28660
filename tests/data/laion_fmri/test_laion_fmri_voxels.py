import numpy as np
import pytest

from mindeye2.core.errors import ArtifactError


def test_regions_become_columns_of_the_voxel_table(laion, read):
    voxels = read(laion.root, subjects=("sub-01",)).voxels["sub-01"].set_index(["i", "j", "k"])
    assert voxels.loc[(1, 0, 1)][["roi", "retinotopy"]].tolist() == ["V1", "V1v"]
    assert voxels.loc[(2, 0, 1)][["roi", "retinotopy"]].tolist() == ["EVC", "EVC"]
    assert voxels.loc[(3, 1, 1)][["roi", "retinotopy"]].tolist() == ["laion-general", ""]
    ceiling = laion.subjects["sub-01"].ceiling
    np.testing.assert_array_equal(
        voxels["nc_12rep"], [ceiling[index] for index in voxels.index.to_list()]
    )


def test_voxels_are_chosen_by_region_by_noise_ceiling_or_both(laion, read):
    def chosen(**settings):
        table = read(laion.root, subjects=("sub-03",), **settings).voxels["sub-03"]
        return set(map(tuple, table[["i", "j", "k"]].to_numpy().tolist()))

    own = laion.subjects["sub-03"]
    reliable = set(map(tuple, np.argwhere(own.ceiling >= 30).tolist()))
    assert chosen(roi=(), min_noise_ceiling=30) == reliable
    # The release's package writes names of regions without hyphens.
    general = set(map(tuple, np.argwhere(own.inside).tolist()))
    assert chosen(roi=("laiongeneral",)) == general
    assert chosen(roi=("V1v", "EVC")) == chosen(roi=("EVC",))
    assert chosen(roi=("EVC",), min_noise_ceiling=30) == chosen(roi=("EVC",)) & reliable


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"roi": ("FFA-1",)}, r"no region 'FFA-1'; it has \['EVC', 'V1v', 'laion-general'\]"),
        ({"roi": ()}, r"all voxels of the brain.*min_noise_ceiling to percent"),
        ({"roi": ("EVC",), "min_noise_ceiling": 99}, r"no voxel of sub-01 is in \['EVC'\] with"),
    ],
)
def test_a_choice_of_no_voxels_is_refused(laion, read, settings, message):
    with pytest.raises(ArtifactError, match=message):
        read(laion.root, subjects=("sub-01",), **settings)
