"""Settings of the THINGS-fMRI adapter."""

from typing import Annotated, Literal

from pydantic import Field

from mindeye2.core.settings import Settings
from mindeye2.data.image_files import ImageSettings

__all__ = ["ThingsFmriSettings"]

_AREAS = ("V1", "V2", "V3", "hV4", "VO1", "VO2", "LO1 (prf)", "LO2 (prf)", "TO1", "TO2")
_SELECTIVE = ("EBA", "FFA", "OFA", "STS", "PPA", "RSC", "TOS", "LOC")


class ThingsFmriSettings(Settings):
    """Selection of subjects, voxels and images."""

    subjects: tuple[Literal["sub-01", "sub-02", "sub-03"], ...] = ()
    """All subjects with responses by default."""

    roi: tuple[str, ...] = (
        *_AREAS,
        "V3b",
        "V3a",
        *(side + name for name in _SELECTIVE for side in "lr"),
        "IT",
    )
    """Columns of the voxel metadata whose voxels are taken together; all voxels (211,000) if it is
    empty."""

    min_noise_ceiling: Annotated[float, Field(ge=0, le=100)] | None = None
    """Lowest noise ceiling of single trials (``nc_singletrial``) in percent of variance. The
    release estimates it from the test images."""

    images: str = "object_images"
    """Folder of the THINGS images, inside the source or absolute: ``dog/dog_12s.jpg`` or
    ``dog_12s.jpg``."""

    stimuli: ImageSettings = ImageSettings()
    """Size and cropping of the images."""

    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """Fraction of each subject's training images in the validation split."""

    seed: int = 0
    """Seed of the choice of validation images."""
