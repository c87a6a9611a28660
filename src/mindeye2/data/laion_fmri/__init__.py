"""Adapter of LAION-fMRI: 7T responses of 5 subjects to 25,052 images, single-trial betas.

Zerbe, Roth, Mell, Herholz, Knapen and Hebart, VSS 2026; https://laion-fmri.hebartlab.com. Brain
data, embeddings and captions are public (CC0, ``s3://laion-fmri``); images are behind terms of
use. ``beta_index`` and the rows of HDF5 files count from 0, sessions and runs from 1.
"""

from mindeye2.data.laion_fmri.laion_fmri_reader import read_laion_fmri
from mindeye2.data.laion_fmri.laion_fmri_settings import LaionFmriSettings

__all__ = ["LaionFmriSettings", "read_laion_fmri"]
