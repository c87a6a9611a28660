"""Adapter of the data published with MindEye2: betas of nsdgeneral, stimuli, trials.

From https://huggingface.co/datasets/pscotti/mindeyev2, made from the Natural Scenes Dataset. The
folder of a download holds::

    betas_all_subj01_fp32_renorm.hdf5   betas (trials, voxels), z-scored; row = GLOBAL TRIAL
    coco_images_224_float16.hdf5        images (73000, 3, 224, 224), RGB in [0, 1]
    wds/subj01/train/0.tar ...          trials of own images, one file per session
    wds/subj01/new_test/0.tar           trials of shared images, all sessions
    wds/subj01/test/0.tar               the same, of the sessions that were public before
"""

from mindeye2.data.mindeye2_release.release_reader import read_released
from mindeye2.data.mindeye2_release.release_settings import ReleasedSettings

__all__ = ["ReleasedSettings", "read_released"]
