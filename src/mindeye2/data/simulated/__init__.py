"""Simulated subjects: betas with the statistics of the Natural Scenes Dataset, for any images.

**No subject was scanned.** Decoding from these betas tests the pipeline; it is no evidence about
brains.

The signal s of a voxel v for an image, standardised (mean 0, variance 1) over the training and
validation images, where E_m are Gabor energies, C_c luminance and two opponent colours, G_v the
voxel's receptive field (`mindeye2.data.simulated.receptive_fields`), z_a the image's scores on the
PCA components of its semantic features, and std standardises::

    V1..V4   s = sqrt(1 - q) std((sum_m w_vm <G_v, E_m>)^n) + sqrt(q) std(sum_c u_vc <G_v, C_c>)
    higher   s = rect(sqrt(1 - p) std(sum_a W_va h_a) + sqrt(p) std(sum_b U_vb y_b))
             h_a = rect(z_a)                       leading components, shared by all subjects
             y_b = sum_a D_ab z_a                  own components of the subject, from the others
             rect(u) = std((1 - k) u + k |u|)      k = .5 by default: half-wave

w is log-normal, u, W and U are normal, D is orthonormal; the variance of W along a component is
the component's own variance to the power `spectrum`, times a gain of the area. n = 1/2 compresses,
after Kay et al. 2013. A beta in percent signal change is::

    beta = mean_v + S_v s_v(image) + N_v (e + drift + offsets)
    e    = sqrt(c) L_v z + sqrt(1 - c - d - r) white

S_v / N_v is the voxel's ncsnr, log-normal around the median of its area. N_v^2 is made of noise
that voxels have in common (fraction c; latents z of the trial, rows of L of length 1), slow drift
(d), offsets of runs (r) and independent noise. Offsets of sessions are added, which z-scoring
within sessions removes. Half of the latents load on voxels like the signal's leading components,
so that averaging over voxels does not remove them.

**Noise level.** Allen et al. 2022 report a noise ceiling of 36 % for responses averaged over three
trials: the median over the nsdgeneral ROI, averaged over participants, with their best betas (b3)
on the cortical surface. By their definition that is an ncsnr of sqrt(.36 / .64 / 3) = .433, and
15.8 % for one trial; the defaults give these, measured by their method from the simulated repeats.
For b2, which MindEye2's preparation uses, the paper shows lower bars without numbers; 1.8-mm
volumes are lower too: lower `ncsnr_median` for these. The spread over voxels and subjects, the
fractions of the noise and the fraction of the own components are guesses.

References
----------
Allen et al. 2022, "A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial
intelligence", Nature Neuroscience 25:116-126, doi:10.1038/s41593-021-00962-x. Kay et al. 2013,
"Compressive spatial summation in human visual cortex", J Neurophysiol 110:481-494.
"""

from mindeye2.data.simulated.simulated_subject import SubjectTruth
from mindeye2.data.simulated.simulation import SimulatedStudy, simulate
from mindeye2.data.simulated.simulation_settings import SimulationSettings

__all__ = ["SimulatedStudy", "SimulationSettings", "SubjectTruth", "simulate"]
