"""Adapter of the Natural Scenes Dataset (NSD) as it is distributed.

Allen et al. 2022, Nature Neuroscience 25:116-126, doi 10.1038/s41593-021-00962-x. Counting starts
at 1 in ``73KID``, ``10KID``, ``masterordering``, ``subjectim``, ``sharedix``, the trial numbers of
``nsd_stim_info_merged.csv`` and the names of image files; at 0 in ``nsdId`` and the rows of
``imgBrick``. The adapter uses ``nsdId`` everywhere.
"""

from mindeye2.data.nsd.nsd_reader import read_nsd
from mindeye2.data.nsd.nsd_settings import NsdSettings

__all__ = ["NsdSettings", "read_nsd"]
