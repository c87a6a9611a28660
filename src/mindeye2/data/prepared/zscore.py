"""Z-scoring of betas within sessions, with a record of the trials it was fitted on."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Int64

from mindeye2.core.errors import ArtifactError
from mindeye2.core.finite import describe_nonfinite

__all__ = ["Scaler", "refuse_nonfinite", "zscore_by_session", "zscore_session"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaler:
    """Means and standard deviations of one subject's voxels, session by session."""

    sessions: Int64[np.ndarray, " steps"]
    """Session numbers, ascending."""

    mean: Float32[np.ndarray, "steps voxels"]
    """Mean of each voxel in each session."""

    std: Float32[np.ndarray, "steps voxels"]
    """Standard deviation (ddof 0) of each voxel in each session."""

    fitted_on: Bool[np.ndarray, " trials"]
    """Mask of the trials that mean and standard deviation were computed from, of those that the
    data set keeps."""


def refuse_nonfinite(
    betas: Float32[np.ndarray, "trials voxels"],
    *,
    subject: str,
    rows: Int64[np.ndarray, " trials"] | None = None,
) -> None:
    """Refuse NaN and infinite betas; `rows` numbers the trials in the message."""
    bad = ~np.isfinite(betas)
    if bad.any():
        raise ArtifactError(
            f"betas of {subject} hold {describe_nonfinite(bad, rows=rows)}. Only finite values "
            "are accepted: drop those voxels from the mask, or those trials from the table."
        )


def zscore_session(
    betas: Float32[np.ndarray, "trials voxels"],
    fitted: Bool[np.ndarray, " trials"],
    *,
    subject: str,
    session: int,
    keep_constant: bool = False,
) -> tuple[
    Float32[np.ndarray, "trials voxels"],
    Float32[np.ndarray, " voxels"],
    Float32[np.ndarray, " voxels"],
]:
    """Z-score each voxel of one session, with mean and SD of the `fitted` trials.

    A voxel that is constant in the fitted trials is refused; with `keep_constant` it becomes 0 in
    the whole session, with standard deviation 0. Returns z-scored betas, means and standard
    deviations (ddof 0). Raises ``ArtifactError`` if fewer than two trials are fitted.
    """
    used = betas[fitted]
    if len(used) < 2:
        raise ArtifactError(
            f"session {session} of {subject} has {len(used)} trials outside the test split; "
            "z-scoring needs at least 2. Leave the session out, or change the split."
        )
    mean, std = used.mean(axis=0), used.std(axis=0)
    constant = used.max(axis=0) == used.min(axis=0)
    if constant.any() and not keep_constant:
        first = np.flatnonzero(constant)[:5].tolist()
        raise ArtifactError(
            f"{int(constant.sum())} voxels of {subject} are constant in session {session} "
            f"(columns {first}{', ...' if constant.sum() > 5 else ''}), so they cannot be "
            "z-scored. Take them out of the mask: they were probably outside the field of "
            "view. Or prepare with --set constant_voxels=zero, which sets them to 0 in such "
            "sessions and counts these in the voxel table."
        )
    std[constant] = 0
    scaled = (betas - mean) / np.where(constant, np.float32(1), std)
    scaled[:, constant] = 0
    return scaled, mean, std


def zscore_by_session(
    betas: Float32[np.ndarray, "trials voxels"], trials: pd.DataFrame, *, subject: str
) -> tuple[Float32[np.ndarray, "trials voxels"], Scaler]:
    """Z-score each voxel within each session of `trials`, fitted on all but test trials.

    Returns the z-scored betas and their scaler. Raises ``ArtifactError`` if a value is not finite,
    a voxel is constant in a session, or a session has fewer than two trials to fit on.
    """
    refuse_nonfinite(betas, subject=subject)
    numbers = np.unique(trials["session"].to_numpy())
    fitted = (trials["split"] != "test").to_numpy()
    means, stds = [], []
    scaled = np.empty_like(betas)
    for session in numbers:
        here = (trials["session"] == session).to_numpy()
        scaled[here], mean, std = zscore_session(
            betas[here], fitted[here], subject=subject, session=int(session)
        )
        means.append(mean)
        stds.append(std)
    scaler = Scaler(
        sessions=numbers.astype(np.int64),
        mean=np.stack(means).astype(np.float32),
        std=np.stack(stds).astype(np.float32),
        fitted_on=fitted,
    )
    return scaled, scaler
