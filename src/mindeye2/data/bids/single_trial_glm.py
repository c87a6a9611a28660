"""Single-trial betas from the volumes of a run, by nilearn's general linear model.

Least squares all (LSA): one model with a regressor for each trial. Least squares separate (LSS):
one model per trial, with a regressor for it and one for all other trials; its estimates vary less
where responses overlap (Mumford et al. 2012, NeuroImage 59:2636). Both are in percent of the
voxel's mean over the run.
"""

import functools
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32
from pydantic import Field

from mindeye2.core.errors import ArtifactError, require
from mindeye2.core.settings import Settings

__all__ = ["GlmSettings", "single_trial_betas"]


class GlmSettings(Settings):
    """The general linear model of single-trial responses."""

    model: Literal["lsa", "lss"] = "lsa"
    """Least squares all, or least squares separate."""

    hrf: Literal["glover", "spm"] = "glover"
    """Haemodynamic response function. Glover's decodes Haxby's eight categories better than SPM's:
    .73, not .65 (benchmarks/haxby.py)."""

    drift: Literal["cosine", "polynomial", "none"] = "cosine"
    """Model of slow drift."""

    high_pass: Annotated[float, Field(gt=0)] = 0.008
    """Cut-off of the drift model ``cosine`` in Hz."""

    drift_order: Annotated[int, Field(ge=0)] = 3
    """Degree of the drift model ``polynomial``."""

    noise: Literal["ols", "ar1"] = "ols"
    """White noise, or first-order autoregressive noise."""

    slice_time: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Acquisition time of a volume as a fraction of the repetition time; fMRIPrep corrects to the
    middle, 0.5. Take 0 where slice timing was corrected to the first slice."""


def single_trial_betas(
    bold: Float[np.ndarray, "volumes voxels"],
    trials: pd.DataFrame,
    *,
    tr_seconds: float,
    confounds: pd.DataFrame | None = None,
    settings: GlmSettings,
    name: str,
) -> Float32[np.ndarray, "trials voxels"]:
    """Estimate the response to each trial of a run, in percent signal change.

    `trials` has ``onset`` and ``duration`` in seconds from the first volume.
    """
    _check(bold, trials, tr_seconds=tr_seconds, confounds=confounds, name=name)
    mean = bold.mean(axis=0, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        signal = 100 * (bold / mean - 1)
    # Voxels without signal stay constant, which z-scoring reports.
    signal[:, mean == 0] = 0
    fit = functools.partial(
        _fit,
        signal,
        trials,
        tr_seconds=tr_seconds,
        confounds=confounds,
        settings=settings,
        name=name,
    )
    n_trials = len(trials)
    if settings.model == "lsa":
        labels = [f"trial{i:05d}" for i in range(n_trials)]
        return fit(labels=labels, wanted=labels)
    separate = [
        fit(labels=["this" if j == i else "other" for j in range(n_trials)], wanted=["this"])
        for i in range(n_trials)
    ]
    return np.concatenate(separate)


def _check(
    bold: Float[np.ndarray, "volumes voxels"],
    trials: pd.DataFrame,
    *,
    tr_seconds: float,
    confounds: pd.DataFrame | None,
    name: str,
) -> None:
    seconds = len(bold) * tr_seconds
    outside = trials[(trials["onset"] < 0) | (trials["onset"] >= seconds)]
    if len(outside):
        raise ArtifactError(
            f"{len(outside)} trials of {name} begin outside the run, the first at "
            f"{outside['onset'].iloc[0]:g} s: it has {len(bold)} volumes of {tr_seconds:g} s, "
            f"{seconds:g} s in all. Onsets are seconds from the first volume: was the run cut "
            "short, or were volumes removed from its beginning?"
        )
    if confounds is not None and len(confounds) != len(bold):
        raise ArtifactError(
            f"{name} has {len(bold)} volumes, but its confounds have {len(confounds)} rows. Give "
            "both from the same preprocessing."
        )


def _fit(
    signal: Float[np.ndarray, "volumes voxels"],
    trials: pd.DataFrame,
    *,
    labels: list[str],
    wanted: list[str],
    tr_seconds: float,
    confounds: pd.DataFrame | None,
    settings: GlmSettings,
    name: str,
) -> Float32[np.ndarray, "trials voxels"]:
    """Fit one model and return the estimates of some labels."""
    glm = require("nilearn.glm.first_level", extra="bids", purpose="The GLM")
    events = trials[["onset", "duration"]].assign(trial_type=labels)
    times = (np.arange(len(signal)) + settings.slice_time) * tr_seconds
    design = glm.make_first_level_design_matrix(
        times,
        events,
        hrf_model=settings.hrf,
        drift_model=None if settings.drift == "none" else settings.drift,
        high_pass=settings.high_pass,
        drift_order=settings.drift_order,
        add_regs=None if confounds is None else confounds.to_numpy(),
    )
    rank = int(np.linalg.matrix_rank(design.to_numpy()))
    if rank < design.shape[1]:
        raise ArtifactError(
            f"the {design.shape[1]} regressors of {name} ({len(trials)} trials, confounds, drift)"
            f" for {len(signal)} volumes have only rank {rank}: single-trial responses cannot "
            "be separated. Trials are too close to each other, or to the end of the run: use "
            "--set bids.glm.model=lss, fewer confounds, or leave trials out."
        )
    found, results = glm.run_glm(signal, design.to_numpy(), noise_model=settings.noise)
    rows = [design.columns.get_loc(label) for label in wanted]
    betas = np.empty((len(wanted), signal.shape[1]), np.float32)
    for label, result in results.items():
        # nilearn groups voxels by their noise model.
        betas[:, found == label] = result.theta[rows]
    return betas
