"""Parameters of the simulated subjects."""

from pydantic import Field, model_validator

from mindeye2.core.settings import Settings

__all__ = ["SimulationSettings"]


class SimulationSettings(Settings):
    """Parameters of the equations of `mindeye2.data.simulated`."""

    n_subjects: int = Field(default=8, ge=1, le=99)
    """Subjects, "subj01" onwards. A subject does not change when others are added."""

    min_voxels: int = Field(default=4000, ge=8)
    """Fewest voxels of a subject."""

    max_voxels: int = Field(default=5000, ge=8)
    """Most voxels of a subject."""

    sessions: int = Field(default=2, ge=1)
    """Sessions of each subject."""

    trials_per_session: int = Field(default=750, ge=2)
    """Trials of training and validation images in a session, as in NSD's; test trials are
    added."""

    runs_per_session: int = Field(default=12, ge=1)
    """Runs of a session; 12 as in NSD's."""

    repeat_fractions: tuple[float, ...] = Field(default=(0.5, 0.35, 0.15), min_length=1)
    """Fraction of a subject's images that are shown once, twice, three times."""

    same_session: float = Field(default=0.4, ge=0, le=1)
    """Probability that the next presentation of an image falls into the same session."""

    test_repeats: int = Field(default=3, ge=1)
    """Presentations of each test image over all sessions."""

    extent: float = Field(default=8.4, gt=0)
    """Width of an image in degrees of visual angle; NSD's are 8.4."""

    orientations: int = Field(default=6, ge=1)
    """Orientations of the Gabors."""

    cycles_per_degree: tuple[float, ...] = Field(default=(0.5, 1.0, 2.0), min_length=1)
    """Spatial frequencies of the Gabors."""

    early_fraction: float = Field(default=0.55, ge=0, le=1)
    """Fraction of the voxels in V1 to V4; the others are higher visual."""

    field_scatter: float = Field(default=0.2, ge=0)
    """SD of the logarithm of receptive-field sizes around their area's line."""

    exponent: float = Field(default=0.5, gt=0)
    """Compression n of the energy under a receptive field."""

    tuning: float = Field(default=1.0, ge=0)
    """SD of the logarithm of an early voxel's weights over the Gabor maps."""

    colour_voxels: float = Field(default=0.5, ge=0, le=1)
    """Fraction of the early voxels that also respond to local luminance and colour."""

    colour_fraction: float = Field(default=0.5, ge=0, le=1)
    """Fraction q of these voxels' variance that luminance and colour drive."""

    shared_components: int = Field(default=60, ge=1)
    """Leading PCA components of the semantic features that all subjects share; fewer where images
    or features are few."""

    other_components: int = Field(default=60, ge=0)
    """Further components, which each subject's own components combine."""

    own_components: int = Field(default=12, ge=0)
    """Number of subject-specific components."""

    own_fraction: float = Field(default=0.3, ge=0, le=1)
    """Fraction p of a higher voxel's variance that the subject's own components drive."""

    spectrum: float = Field(default=0.5, ge=0)
    """Power of the components' variances in the variances of the weights: 0 white, 1 as in the
    features."""

    area_gain: float = Field(default=0.5, ge=0)
    """SD of the logarithm of an area's gains on the shared components; the same in all
    subjects."""

    component_nonlinearity: float = Field(default=0.5, ge=0, le=1)
    """Rectification k of the shared components, the same in all subjects."""

    voxel_nonlinearity: float = Field(default=0.5, ge=0, le=1)
    """Rectification k of each higher voxel: 0.5 is half-wave, 1 is full-wave."""

    ncsnr_median: float = Field(default=0.433, gt=0)
    """Median over voxels of signal SD to noise SD of one trial; .433 is a ceiling of 36 % for
    three trials (Allen et al. 2022, b3, nsdgeneral)."""

    early_gain: float = Field(default=1.1, gt=0)
    """Median ncsnr of V1 to V4 over that of the higher areas."""

    ncsnr_sigma: float = Field(default=0.5, ge=0)
    """SD of the logarithm of ncsnr over the voxels of a subject."""

    subject_sigma: float = Field(default=0.1, ge=0)
    """SD of the logarithm of ncsnr over subjects."""

    correlated_fraction: float = Field(default=0.3, ge=0, le=1)
    """Fraction c of the noise variance that voxels have in common."""

    noise_latents: int = Field(default=20, ge=1)
    """Latents of the common noise; half of them load like the signal's leading components."""

    drift_fraction: float = Field(default=0.05, ge=0, le=1)
    """Fraction d of the noise variance that drifts slowly within a session."""

    run_fraction: float = Field(default=0.02, ge=0, le=1)
    """Fraction r of the noise variance between the means of runs."""

    session_offset: float = Field(default=0.5, ge=0)
    """SD of a voxel's mean over sessions, in units of its noise SD."""

    response_sd: float = Field(default=1.5, gt=0)
    """Median SD of a voxel's single-trial betas, percent signal change."""

    @model_validator(mode="after")
    def _check(self) -> "SimulationSettings":
        if self.min_voxels > self.max_voxels:
            raise ValueError(
                f"min_voxels ({self.min_voxels}) is above max_voxels ({self.max_voxels})."
            )
        if min(self.repeat_fractions) < 0 or sum(self.repeat_fractions) <= 0:
            raise ValueError(
                f"repeat_fractions must be at least 0 and not all 0, got {self.repeat_fractions}."
            )
        total = self.correlated_fraction + self.drift_fraction + self.run_fraction
        if total > 1:
            raise ValueError(
                "correlated_fraction, drift_fraction and run_fraction are parts of one noise "
                f"variance and must sum to at most 1, got {total:g}."
            )
        return self
