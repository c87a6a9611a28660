import shutil

import pytest

from mindeye2.core.errors import ArtifactError


def test_missing_sessions_are_listed_with_the_command(download, read):
    with pytest.raises(ArtifactError) as caught:
        read(download.root, subjects=("sub-01",), train_sessions=(1, 3), test_sessions=(4,))
    message = str(caught.value)
    assert "sub-01/ses-03/func/sub-01_ses-03_task-images_space-T1w_stat-effect" in message
    assert "ses-04_task-images_desc-SingletrialBetas_trials.tsv" in message
    command = "aws s3 sync --no-sign-request s3://laion-fmri/derivatives/glmsingle-tedana/sub-01 "
    assert message.count(command) == 1
    assert f"{download.root}/derivatives/glmsingle-tedana/sub-01" in message


def test_a_session_with_half_of_its_files_is_not_skipped(download, read):
    download.trials("sub-01", 5).unlink()
    with pytest.raises(ArtifactError, match=r"lacks .*ses-05_.*_trials\.tsv\. Give as --source"):
        read(download.root, subjects=("sub-01",))


def test_files_of_the_stimuli_are_asked_for_where_they_are_public(download, read):
    (download.root / "stimuli/task-images_metadata.csv").unlink()
    with pytest.raises(
        ArtifactError, match=r"lacks .*metadata\.csv, .*DINOv2_.*laion-fmri/stimuli .*'\*_stimuli"
    ):
        read(download.root, embeddings=("CLIP", "DINOv2"))


def test_nothing_to_decode_is_refused(download, read):
    (download.root / "stimuli/task-images_stimuli.h5").unlink()
    with pytest.raises(ArtifactError, match=r"embeddings is empty: nothing is left to decode"):
        read(download.root, embeddings=())


def test_an_empty_folder_is_told_what_to_download(tmp_path, read):
    with pytest.raises(ArtifactError, match=r"lacks derivatives/glmsingle-tedana/sub-01/ses-01"):
        read(tmp_path)
    with pytest.raises(ValueError, match=r"laion_fmri\.subjects must be one of .*'sub-02'"):
        read(tmp_path, subjects=("sub-02",))


def test_regions_that_were_not_downloaded_are_asked_for(download, read):
    shutil.rmtree(download.root / "derivatives/rois")
    with pytest.raises(
        ArtifactError, match=r"label-laion-general_mask.*laion-fmri/derivatives/rois/sub-01"
    ):
        read(download.root, subjects=("sub-01",))
