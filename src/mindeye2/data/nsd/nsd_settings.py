"""Settings of the Natural Scenes Dataset adapter."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mindeye2.core.settings import Settings

__all__ = ["NsdSettings"]


class NsdSettings(Settings):
    """Selection of subjects, sessions, betas, region and captions."""

    subjects: tuple[str, ...] = ()
    """E.g. ``[subj01, subj05]``; all subjects with betas by default."""

    train_sessions: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Sessions of the training and validation trials; all existing ones by default. The paper's
    "one hour" is ``[1]``."""

    test_sessions: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Sessions of the test trials; all existing ones by default, whatever `train_sessions` is, as
    in the paper."""

    betas: Literal["betas_assumehrf", "betas_fithrf", "betas_fithrf_GLMdenoise_RR"] = (
        "betas_fithrf_GLMdenoise_RR"
    )
    """Version of the betas: b1, b2 or b3 in the papers. Most papers use b3, which is denoised;
    MindEye2's preparation uses b2."""

    space: Literal["func1pt8mm", "func1mm"] = "func1pt8mm"
    """Functional space: voxels of 1.8 or 1 mm."""

    file_format: Literal["auto", "hdf5", "nii.gz"] = "auto"
    """File format of the betas; both hold the same numbers, and HDF5 is much faster to read."""

    roi: str = "nsdgeneral"
    """Region of interest: a file of the ``roi`` folder without its suffix."""

    roi_labels: tuple[str | int, ...] = ()
    """Labels of the region, by name or number; all above 0 by default."""

    atlases: tuple[str, ...] = (
        "prf-visualrois",
        "prf-eccrois",
        "floc-faces",
        "floc-words",
        "floc-places",
        "floc-bodies",
        "streams",
        "Kastner2015",
        "HCP_MMP1",
    )
    """Atlases whose labels become columns of the voxel table, where their files exist."""

    protocol: Literal[1000, 982] = 1000
    """Test trials: all of the shared images, or those in the 37, 29 or 27 sessions that were
    public until August 2023 (982 images). Other trials of shared images are dropped then; shared
    images are never trained on."""

    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """Fraction of each subject's own images in the validation split."""

    image_size: Annotated[int, Field(ge=32)] = 224
    """Side in pixels to which stimuli are downsampled, from 425."""

    captions: Path | None = None
    """Folder of COCO's ``captions_train2017.json`` and ``captions_val2017.json``, which are not
    in the release; ``nsddata_stimuli/stimuli/nsd/annotations`` by default."""

    seed: int = 0
    """Seed of the choice of validation images."""
