import numpy as np
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.mindeye2_release.tars import BEHAVIOUR, read_tar


def test_behav_is_read_and_its_neighbours_are_not(published):
    table = read_tar(published.root / "wds/subj01/train/1.tar")
    truth = published.trials["subj01"]
    truth = truth[(truth[:, 2] == 2) & (truth[:, 16] == 0)]
    assert list(table) == list(BEHAVIOUR)
    np.testing.assert_array_equal(table.fillna(-1).to_numpy(float), truth)
    assert table["global_trial"].dtype == np.int64


@pytest.mark.parametrize("change", ["cut", "text", "short", "pickle"])
def test_files_that_hold_something_else_are_named(published, tmp_path, change):
    path = tmp_path / "0.tar"
    rows = published.trials["subj01"][:5]
    if change == "cut":
        published.write_tar(path, rows)
        path.write_bytes(path.read_bytes()[:2500])
    elif change == "text":
        path.write_text("<html>Access denied</html>")
    else:
        published.write_tar(path, rows[:, :16] if change == "short" else rows.astype(object))
    with pytest.raises(ArtifactError, match=r"0\.tar \(\d+ bytes\) is damaged or holds something"):
        read_tar(path)


def test_a_file_without_trials_is_named(published, tmp_path):
    published.write_tar(tmp_path / "0.tar", [])
    with pytest.raises(ArtifactError, match=r"0\.tar holds no behav\.npy"):
        read_tar(tmp_path / "0.tar")
