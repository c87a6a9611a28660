"""How well a session's betas fit its images in the order given, and in every shifted order.

Ridge regression predicts every trial's image features from its betas, with that trial left out.
For given betas the prediction is linear in the features, ``H Y`` with ``H`` from the betas alone,
so the fit of any other order of the images costs next to nothing::

    fit(order) = sum_ij H_ij K[order_i, order_j],    K = Y Y'

Shifting the table by every possible number of trials, around the session's end, gives a curve. A
true table has one peak, at a shift of 0; a table that is off by one has it at 1; a shuffled table
has none. The other shifts are permutations that keep the session's slow drifts, so they are what
chance looks like: heights are given in their robust standard deviations, z. A table that slips in
mid-session, by a trial that was dropped on one side only, is found from the trials' own
predictions.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

__all__ = ["MAX_SLIP", "SessionFit", "fit_session", "gram_of", "lag_curve", "left_out"]

PENALTY = 5.0
"""In units of the mean eigenvalue. Between 1 and 10 the peak hardly changes, on simulated people
and on Kriegeskorte's 92 images."""

MAX_SLIP = 5
"""Trials by which a table may slip in mid-session."""

MIN_LEFT = 8
"""Trials behind a slip without which it cannot be seen."""


@dataclass(frozen=True, kw_only=True)
class SessionFit:
    """How well the betas of one session fit its images, in the order given and in others."""

    session: int
    """Its number."""

    hat: Float64[np.ndarray, "trials trials2"]
    """Takes the features of all trials to the prediction of each, without itself."""

    curve: Float64[np.ndarray, " trials"]
    """z of the fit with the table shifted by 0, 1, 2, ... trials; the end means -2, -1."""

    slip: tuple[float, int, int]
    """z of the likeliest slip in mid-session, by how many trials, from which position."""

    @property
    def here(self) -> float:
        """Z of the order as given."""
        return float(self.curve[0])

    @property
    def elsewhere(self) -> tuple[float, int]:
        """Best z at another shift, and that shift (positive: the table lags behind)."""
        best = int(self.curve[1:].argmax()) + 1
        shift = best if best <= len(self.curve) // 2 else best - len(self.curve)
        return float(self.curve[best]), shift


def left_out(
    betas: Float32[np.ndarray, "trials voxels"], *, penalty: float = PENALTY
) -> Float64[np.ndarray, "trials trials2"]:
    """Return the matrix that predicts each trial's features from all other trials.

    Parameters
    ----------
    betas
        One session.
    penalty
        Ridge penalty in units of the mean eigenvalue of the trials' Gram matrix.

    Returns
    -------
    numpy.ndarray
        Rows predict, columns are what is predicted from; the diagonal is 0.
    """
    centred = betas - betas.mean(axis=0)
    gram = (centred @ centred.T).astype(np.float64)
    n = len(gram)
    gram /= max(np.trace(gram) / n, 1e-12)
    hat = np.linalg.solve(gram + penalty * np.eye(n), gram)
    own = hat.diagonal().copy()
    np.fill_diagonal(hat, 0)
    result: Float64[np.ndarray, "trials trials2"] = hat / (1 - own)[:, None]
    return result


def lag_curve(
    hat: Float64[np.ndarray, "trials trials2"], kernel: Float64[np.ndarray, "trials trials2"]
) -> Float64[np.ndarray, " trials"]:
    """Return the fit of a session's images under every circular shift, as z.

    Parameters
    ----------
    hat
        From `left_out`.
    kernel
        Inner products of the images' features, in the table's order.

    Returns
    -------
    numpy.ndarray
        Entry k: trial i is taken to have seen what the table says of trial i + k.
    """
    n = len(hat)
    place = np.arange(n)
    along = (place[None, :] + place[:, None]) % n
    # Row d holds the d-th diagonal, so that a shift of both axes is a shift of each row.
    h, k = hat[place[None, :], along], kernel[place[None, :], along]
    product = (np.conj(np.fft.rfft(h, axis=1)) * np.fft.rfft(k, axis=1)).sum(axis=0)
    raw = np.fft.irfft(product, n)
    middle = np.median(raw)
    spread = 1.4826 * np.median(np.abs(raw - middle))
    curve: Float64[np.ndarray, " trials"] = (raw - middle) / max(spread, 1e-12)
    return curve


def fit_session(
    betas: Float32[np.ndarray, "trials voxels"],
    features: Float32[np.ndarray, "trials features"],
    *,
    session: int,
) -> SessionFit:
    """Fit one session.

    Parameters
    ----------
    betas
        One row per trial.
    features
        Of the image that the table gives for each trial.
    session
        Its number.

    Returns
    -------
    SessionFit
        The fit of the order as given and of others.
    """
    hat = left_out(betas)
    kernel = gram_of(features)
    curve = lag_curve(hat, kernel)
    return SessionFit(session=session, hat=hat, curve=curve, slip=_slip(hat @ kernel))


def gram_of(
    features: Float32[np.ndarray, "trials features"],
) -> Float64[np.ndarray, "trials trials2"]:
    """Return the inner products of features that lost their mean.

    Parameters
    ----------
    features
        One row per trial.

    Returns
    -------
    numpy.ndarray
        Symmetric.
    """
    centred = (features - features.mean(axis=0)).astype(np.float64)
    gram: Float64[np.ndarray, "trials trials2"] = centred @ centred.T
    return gram


def _slip(fits: Float64[np.ndarray, "trials trials2"]) -> tuple[float, int, int]:
    """Find where the predictions begin to fit a neighbour's image better than their own."""
    n = len(fits)
    spread = np.maximum(fits.std(axis=1, keepdims=True), 1e-12)
    scaled = (fits - fits.mean(axis=1, keepdims=True)) / spread
    own = scaled.diagonal()
    counts = n - np.arange(n)
    best = (0.0, 0, 0)
    for shift in (k for k in range(-MAX_SLIP, MAX_SLIP + 1) if k and abs(k) < n):
        gain = np.zeros(n)
        place = np.arange(max(0, -shift), min(n, n - shift))
        gain[place] = scaled[place, place + shift] - own[place]
        z = np.cumsum(gain[::-1])[::-1] / np.sqrt(2 * counts)
        z[counts < MIN_LEFT] = 0
        best = max(best, (float(z.max()), shift, int(z.argmax())))
    return best
