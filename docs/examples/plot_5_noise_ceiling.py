"""
Noise ceiling of voxels
=======================

Repeats of the same image separate signal from noise. The percentage of variance that the image
explains in an average of n presentations is the noise ceiling (Allen et al. 2022).
"""

import matplotlib.pyplot as plt
import numpy as np

import mindeye2
from mindeye2.data.reliability import ncsnr, noise_ceiling

test = mindeye2.load("runs/demo/data", subject="subj08")
present = ~np.isnan(test.betas[..., 0])
images = np.repeat(np.arange(len(test)), present.sum(axis=1))
signal_to_noise = ncsnr(test.betas[present], images)

figure, axes = plt.subplots(figsize=(5, 3))
for n in (1, 3, 10):
    ceiling = noise_ceiling(signal_to_noise, n)
    axes.hist(
        ceiling, bins=30, histtype="step", label=f"{n}: median {np.nanmedian(ceiling):.0f} %"
    )
axes.set(xlabel="noise ceiling, % of variance", ylabel="voxels")
axes.legend(title="presentations averaged")
figure.tight_layout()
