import numpy as np
import pytest

from mindeye2.doctor.voxels import check_voxels


def put(where, value):
    def spoil(betas):
        betas[where] = value

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (put((3, 2), np.nan), r"1 values are NaN or infinite: 1 voxels (columns 2), sessions 1"),
        (put((70, 4), np.inf), r"1 voxels (columns 4), sessions 2"),
        (put((slice(60, 120), 4), 0), r"1 voxels are zero in a whole session (columns 4; sess"),
        (put((slice(60, 120), [4, 9]), 1.5), r"2 voxels are constant in a whole session (colu"),
        (put([10, 20], 0), r"2 trials are zero in every voxel (rows 10, 20)"),
    ],
    ids=["NaN", "infinite", "zero", "constant", "trials"],
)
def test_what_holds_nothing_is_an_error(parts, study, wrong, spoil, message):
    findings = check_voxels(*study(parts, spoil=spoil))
    assert wrong(findings) == [("error", "voxels", "subj01")]
    assert message in findings[0].found
    assert findings[0].mend.endswith("mindeye2 prepare table --source lab --out NEW")


def test_a_value_that_no_z_score_reaches_is_a_warning(parts, study, wrong):
    findings = check_voxels(*study(parts, spoil=put((0, 0), 300)))
    assert wrong(findings) == [("warning", "voxels", "subj01")]
    assert "300 standard deviations" in findings[0].found


def test_sound_voxels_are_counted(parts, study):
    (finding,) = check_voxels(*study(parts))
    assert (finding.level, finding.found) == (
        "ok",
        "30 voxels are finite and vary in each of 3 sessions",
    )


def test_voxels_that_the_settings_ask_to_be_zero_are_noted(parts, study, wrong):
    found, scan = study(parts, spoil=put((slice(60, 120), 4), 0))
    found.scalers["subj01"].std[1, 4] = 0
    findings = check_voxels(found, scan)
    assert wrong(findings) == []
    assert "1 voxels are 0 in sessions where they did not vary" in findings[0].found
