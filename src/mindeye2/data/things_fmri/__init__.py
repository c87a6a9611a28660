"""Adapter of THINGS-fMRI: 3T responses of 3 subjects to 8,740 images of objects.

Hebart et al. 2023, eLife 12:e82580, doi 10.7554/eLife.82580. It reads the single-trial responses
in table format (doi 10.25452/figshare.plus.20492835): rows are voxels, columns are trials.
"""

from mindeye2.data.things_fmri.things_reader import read_things_fmri
from mindeye2.data.things_fmri.things_settings import ThingsFmriSettings

__all__ = ["ThingsFmriSettings", "read_things_fmri"]
