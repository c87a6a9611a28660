"""Settings of the adapter of the Natural Scenes Dataset."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mindeye2.core.settings import Settings

__all__ = ["NsdSettings"]


class NsdSettings(Settings):
    """What to take from the Natural Scenes Dataset."""

    subjects: tuple[str, ...] = ()
    """E.g. ``[subj01, subj05]``; all that have betas by default."""

    sessions: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Sessions of each subject; all that are there by default."""

    betas: Literal["betas_assumehrf", "betas_fithrf", "betas_fithrf_GLMdenoise_RR"] = (
        "betas_fithrf_GLMdenoise_RR"
    )
    """Version of the betas: b1, b2 or b3 in the papers. b3 is denoised, and what most papers use;
    MindEye2's preparation reads b2."""

    space: Literal["func1pt8mm", "func1mm"] = "func1pt8mm"
    """Functional space: voxels of 1.8 or 1 mm."""

    file_format: Literal["auto", "hdf5", "nii.gz"] = "auto"
    """Files of betas to read; both hold the same numbers, and HDF5 is much faster."""

    roi: str = "nsdgeneral"
    """Region whose voxels are taken: a file of the ``roi`` folder without its ending."""

    roi_labels: tuple[str | int, ...] = ()
    """Only these labels of the region, by name or number; all above 0 by default."""

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
    """Regions whose labels become columns of the voxel table, where their files are there."""

    protocol: Literal[1000, 982] = 1000
    """Test trials: all of the shared images, or those that were public when 37, 29 or 27 sessions
    were, of which 982 images are known. Other trials of shared images are left out then; none is
    ever trained on."""

    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """Share of each subject's own images in the validation split."""

    image_size: Annotated[int, Field(ge=32)] = 224
    """Side in pixels that pictures are reduced to, from 425."""

    captions: Path | None = None
    """Folder of COCO's ``captions_train2017.json`` and ``captions_val2017.json``, which are not
    part of the release; ``nsddata_stimuli/stimuli/nsd/annotations`` by default."""

    seed: int = 0
    """Seeds the validation images."""
