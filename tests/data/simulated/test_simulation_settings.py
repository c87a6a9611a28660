import pytest

from mindeye2.core.settings import build_settings
from mindeye2.core.settings_listing import list_settings
from mindeye2.data.simulated import SimulationSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_subjects": 0}, r"'n_subjects': Input should be greater than or equal to 1, got 0"),
        ({"n_voxels": 100}, r"there is no setting 'n_voxels'.*Did you mean 'm.._voxels'\?"),
        (
            {"min_voxels": 900, "max_voxels": 800},
            r"min_voxels \(900\) is above max_voxels \(800\)",
        ),
        (
            {"repeat_fractions": [0.0, 0.0]},
            r"must be at least 0 and not all 0, got \(0\.0, 0\.0\)",
        ),
        ({"drift_fraction": 0.8}, r"must sum to at most 1, got 1\.12"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        build_settings(SimulationSettings, values)


def test_every_setting_is_explained():
    assert [row.name for row in list_settings(SimulationSettings()) if not row.meaning] == []
