"""Settings of the simulated people."""

from pydantic import Field, model_validator

from mindeye2.core.settings import Settings

__all__ = ["SimulationSettings"]


class SimulationSettings(Settings):
    """Every parameter of the equations."""

    n_subjects: int = Field(default=8, ge=1, le=99)
    """People, "subj01" onwards. A person does not change when others are added."""

    min_voxels: int = Field(default=800, ge=8)
    """Fewest voxels of a person."""

    max_voxels: int = Field(default=1300, ge=8)
    """Most voxels of a person."""

    sessions: int = Field(default=3, ge=1)
    """Sessions of each person."""

    trials_per_session: int = Field(default=300, ge=2)
    """Trials of training and validation images in a session; test trials come on top."""

    runs_per_session: int = Field(default=8, ge=1)
    """Runs of a session."""

    repeat_shares: tuple[float, ...] = Field(default=(0.5, 0.35, 0.15), min_length=1)
    """Share of a person's images that are shown once, twice, three times."""

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

    early_share: float = Field(default=0.55, ge=0, le=1)
    """Share of the voxels in V1 to V4; the rest is higher visual."""

    field_scatter: float = Field(default=0.2, ge=0)
    """SD of the logarithm of receptive-field sizes around their area's line."""

    exponent: float = Field(default=0.5, gt=0)
    """Compression n of the energy under a receptive field."""

    tuning: float = Field(default=1.0, ge=0)
    """SD of the logarithm of an early voxel's weights over the Gabor maps."""

    colour_voxels: float = Field(default=0.5, ge=0, le=1)
    """Share of the early voxels that also answer to local luminance and colour."""

    colour_share: float = Field(default=0.5, ge=0, le=1)
    """Share q of these voxels' variance that luminance and colour drive."""

    shared_axes: int = Field(default=60, ge=1)
    """Leading semantic axes that all people share; fewer where images or features are few."""

    other_axes: int = Field(default=60, ge=0)
    """Further semantic axes, out of which each person's own axes are made."""

    own_axes: int = Field(default=12, ge=0)
    """Own axes of a person."""

    own_share: float = Field(default=0.3, ge=0, le=1)
    """Share p of a higher voxel's variance that the person's own axes drive."""

    spectrum: float = Field(default=0.5, ge=0)
    """Power of the axes' variances in the variances of the weights: 0 white, 1 as the features."""

    area_gain: float = Field(default=0.5, ge=0)
    """SD of the logarithm of an area's gains on the shared axes; the same in all people."""

    axis_nonlinearity: float = Field(default=0.0, ge=0, le=1)
    """Rectification k of the shared axes, the same in all people."""

    voxel_nonlinearity: float = Field(default=0.0, ge=0, le=1)
    """Rectification k of each higher voxel: 0.5 is half-wave, 1 loses the sign."""

    ncsnr_median: float = Field(default=0.433, gt=0)
    """Median over voxels of signal SD to noise SD of one trial; .433 is a ceiling of 36 % for
    three trials (Allen et al. 2022, b3, nsdgeneral)."""

    early_gain: float = Field(default=1.1, gt=0)
    """Median ncsnr of V1 to V4 over that of the higher areas."""

    ncsnr_sigma: float = Field(default=0.5, ge=0)
    """SD of the logarithm of ncsnr over the voxels of a person."""

    subject_sigma: float = Field(default=0.1, ge=0)
    """SD of the logarithm of ncsnr over people."""

    correlated_share: float = Field(default=0.3, ge=0, le=1)
    """Share c of the noise variance that voxels have in common."""

    noise_latents: int = Field(default=20, ge=1)
    """Latents of the common noise; half of them load like the signal's leading axes."""

    drift_share: float = Field(default=0.05, ge=0, le=1)
    """Share d of the noise variance that drifts slowly within a session."""

    run_share: float = Field(default=0.02, ge=0, le=1)
    """Share r of the noise variance between the means of runs."""

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
        if min(self.repeat_shares) < 0 or sum(self.repeat_shares) <= 0:
            raise ValueError(
                f"repeat_shares must be at least 0 and not all 0, got {self.repeat_shares}."
            )
        shares = self.correlated_share + self.drift_share + self.run_share
        if shares > 1:
            raise ValueError(
                "correlated_share, drift_share and run_share are shares of one noise variance and "
                f"must sum to at most 1, got {shares:g}."
            )
        return self
