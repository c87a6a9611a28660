import numpy as np
import pytest

from mindeye2.doctor.voxel_values import check_voxels


def put(where, value):
    def corrupt(betas):
        betas[where] = value

    return corrupt


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (put((3, 2), np.nan), r"1 values are NaN or infinite: 1 voxels (columns 2), sessions 1"),
        (put((70, 4), np.inf), r"1 voxels (columns 4), sessions 2"),
        (put((slice(60, 120), 4), 0), r"1 voxels are zero in a whole session (columns 4; sess"),
        (put((slice(60, 120), [4, 9]), 1.5), r"2 voxels are constant in a whole session (colu"),
        (put([10, 20], 0), r"2 trials are zero in every voxel (rows 10, 20)"),
    ],
    ids=["NaN", "infinite", "zero", "constant", "trials"],
)
def test_values_without_signal_are_an_error(dataset, open_view, wrong, corrupt, message):
    findings = check_voxels(*open_view(dataset, corrupt=corrupt))
    assert wrong(findings) == [("error", "voxels", "subj01")]
    assert message in findings[0].found
    assert findings[0].fix.endswith("mindeye2 prepare table --source lab --out NEW")


def test_a_value_that_no_z_score_reaches_is_a_warning(dataset, open_view, wrong):
    findings = check_voxels(*open_view(dataset, corrupt=put((0, 0), 300)))
    assert wrong(findings) == [("warning", "voxels", "subj01")]
    assert "300 standard deviations" in findings[0].found


def test_sound_voxels_are_counted(dataset, open_view):
    (finding,) = check_voxels(*open_view(dataset))
    assert (finding.level, finding.found) == (
        "ok",
        "30 voxels are finite and vary in each of 3 sessions",
    )


def test_voxels_that_the_settings_ask_to_be_zero_are_noted(dataset, open_view, wrong):
    view, stats = open_view(dataset, corrupt=put((slice(60, 120), 4), 0))
    view.scalers["subj01"].std[1, 4] = 0
    findings = check_voxels(view, stats)
    assert wrong(findings) == []
    assert "1 voxels are 0 in sessions without variance" in findings[0].found
