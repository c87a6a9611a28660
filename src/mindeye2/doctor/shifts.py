"""Fit of a session's betas to its images in the order given, and in every shifted order.

Ridge regression predicts every trial's image features from its betas, with that trial left out.
For given betas the prediction is linear in the features, ``H Y`` with ``H`` from the betas alone,
so the fit of any other order of the images costs little::

    fit(order) = sum_ij H_ij K[order_i, order_j],    K = Y Y'

Shifting the table by every possible number of trials, around the session's end, gives a curve. A
correct table has one peak, at a shift of 0; a table that is off by one has it at 1; a shuffled
table has none. The other shifts are permutations that keep the session's slow drifts, so they
estimate chance: values are given in their robust standard deviations, z. A table that slips in
mid-session, by a trial that was dropped on one side only, is found from the predictions of single
trials.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

__all__ = ["MAX_SLIP", "SessionFit", "fit_session", "gram_matrix", "shift_curve"]

ALPHA = 5.0
"""In units of the mean eigenvalue. Between 1 and 10 the peak hardly changes, on simulated
subjects and on Kriegeskorte's 92 images."""

MAX_SLIP = 5
"""Trials by which a table may slip in mid-session."""

MIN_LEFT = 8
"""Trials after a slip that are needed to detect it."""


@dataclass(frozen=True, kw_only=True)
class SessionFit:
    """Fit of one session's betas to its images, in the order given and in others."""

    session: int
    """Session number."""

    hat: Float64[np.ndarray, "trials trials2"]
    """Leave-one-out ridge: takes the features of all trials to the prediction of each."""

    curve: Float64[np.ndarray, " trials"]
    """z of the fit with the table shifted by 0, 1, 2, ... trials; the end means -2, -1."""

    slip: tuple[float, int, int]
    """z of the likeliest slip in mid-session, its number of trials, its first position."""

    @property
    def z(self) -> float:
        """Return z of the order as given."""
        return float(self.curve[0])

    @property
    def best_shift(self) -> tuple[float, int]:
        """Return the best z at another shift, and that shift (positive: the table lags)."""
        best = int(self.curve[1:].argmax()) + 1
        shift = best if best <= len(self.curve) // 2 else best - len(self.curve)
        return float(self.curve[best]), shift


def loo_matrix(
    betas: Float32[np.ndarray, "trials voxels"],
) -> Float64[np.ndarray, "trials trials2"]:
    """Return the matrix that predicts each trial's features from all other trials by ridge."""
    centred = betas - betas.mean(axis=0)
    gram = (centred @ centred.T).astype(np.float64)
    n = len(gram)
    gram /= max(np.trace(gram) / n, 1e-12)
    hat = np.linalg.solve(gram + ALPHA * np.eye(n), gram)
    own = hat.diagonal().copy()
    np.fill_diagonal(hat, 0)
    result: Float64[np.ndarray, "trials trials2"] = hat / (1 - own)[:, None]
    return result


def shift_curve(
    hat: Float64[np.ndarray, "trials trials2"], kernel: Float64[np.ndarray, "trials trials2"]
) -> Float64[np.ndarray, " trials"]:
    """Return z of the fit when trial i shows what the table gives for trial i + k, for every k."""
    n = len(hat)
    row = np.arange(n)
    diagonals = (row[None, :] + row[:, None]) % n
    # Row d holds the d-th diagonal, so that a shift of both axes is a shift of each row.
    h, k = hat[row[None, :], diagonals], kernel[row[None, :], diagonals]
    product = (np.conj(np.fft.rfft(h, axis=1)) * np.fft.rfft(k, axis=1)).sum(axis=0)
    fits = np.fft.irfft(product, n)
    median = np.median(fits)
    std = 1.4826 * np.median(np.abs(fits - median))
    curve: Float64[np.ndarray, " trials"] = (fits - median) / max(std, 1e-12)
    return curve


def fit_session(
    betas: Float32[np.ndarray, "trials voxels"],
    features: Float32[np.ndarray, "trials features"],
    *,
    session: int,
) -> SessionFit:
    """Fit betas of one session to the features of the images that the table gives."""
    hat = loo_matrix(betas)
    kernel = gram_matrix(features)
    curve = shift_curve(hat, kernel)
    return SessionFit(session=session, hat=hat, curve=curve, slip=_slip(hat @ kernel))


def gram_matrix(
    features: Float32[np.ndarray, "trials features"],
) -> Float64[np.ndarray, "trials trials2"]:
    """Return the inner products of centred features."""
    centred = (features - features.mean(axis=0)).astype(np.float64)
    gram: Float64[np.ndarray, "trials trials2"] = centred @ centred.T
    return gram


def _slip(fits: Float64[np.ndarray, "trials trials2"]) -> tuple[float, int, int]:
    """Find where predictions begin to fit a neighbouring trial's image better than their own."""
    n = len(fits)
    std = np.maximum(fits.std(axis=1, keepdims=True), 1e-12)
    scaled = (fits - fits.mean(axis=1, keepdims=True)) / std
    own = scaled.diagonal()
    counts = n - np.arange(n)
    best = (0.0, 0, 0)
    for shift in (k for k in range(-MAX_SLIP, MAX_SLIP + 1) if k and abs(k) < n):
        gain = np.zeros(n)
        trials = np.arange(max(0, -shift), min(n, n - shift))
        gain[trials] = scaled[trials, trials + shift] - own[trials]
        z = np.cumsum(gain[::-1])[::-1] / np.sqrt(2 * counts)
        z[counts < MIN_LEFT] = 0
        best = max(best, (float(z.max()), shift, int(z.argmax())))
    return best
