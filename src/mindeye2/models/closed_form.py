"""Ridge regression in closed form, with alpha chosen by identification of held-out images.

Alpha chosen by squared error shrinks too much: it explains more variance and identifies fewer
images.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.models.moments import CHUNK, Moments, Rows, row_chunks

__all__ = [
    "ALPHAS",
    "RidgeFit",
    "RidgeProblem",
    "centred_cosines",
    "choose_alpha",
    "decompose",
    "fit_ridge",
    "image_folds",
    "mean_by_image",
    "mean_reciprocal_rank",
]

ALPHAS = (30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
"""L2 penalties to choose from, for z-scored voxels."""

LARGEST_EIGH = 32_766
"""Rows of the largest matrix that LAPACK decomposes: above, the size of its workspace overflows an
integer of 32 bits, and the process is killed without a message."""

N_IDENTIFIED = 500
"""Held-out images of a fold that are identified to choose alpha: a gallery of all would cost the
square of their number, and for a read-out their tokens."""


@dataclass(frozen=True, kw_only=True)
class RidgeFit:
    """Ridge solutions of one problem for every alpha, from one eigendecomposition.

    With betas X and targets Y, both centred, the weights are B (L + alpha)^-1 R. Where trials are
    fewer than voxels, L and U are eigenvalues and eigenvectors of XX', B = X'U and R = U'Y;
    otherwise L and V are those of X'X, B = V and R = V'X'Y.
    """

    x_mean: Float[Tensor, " voxels"]
    """Mean of the betas."""

    y_mean: Float[Tensor, " features"]
    """Mean of the targets."""

    eigenvalues: Float[Tensor, " components"]
    """Of XX' or X'X, at least 0."""

    vectors: Float[Tensor, "_ components"]
    """U or V."""

    rotated: Float[Tensor, "components features"]
    """R."""

    fitted: tuple[Float[Tensor, "batch voxels"], Int[Tensor, " batch"]] | None = None
    """X, and the numbers of its trials, where `vectors` is U."""

    start: Float[Tensor, "voxels features"] | None = None
    """Weights that the solution shrinks towards; zero by default. `rotated` is then of Y less what
    they predict."""

    @cached_property
    def basis(self) -> Float[Tensor, "voxels components"]:
        """Return B."""
        return self.vectors if self.fitted is None else self.fitted[0].T @ self.vectors

    def weights(
        self, alpha: float
    ) -> tuple[Float[Tensor, "voxels features"], Float[Tensor, " features"]]:
        """Return the weights and the bias for one alpha above 0."""
        solved = self.rotated / (self.eigenvalues + alpha)[:, None]
        # With fewer targets than components, B itself would cost more.
        weights = (
            self.basis @ solved
            if self.fitted is None
            else self.fitted[0].T @ (self.vectors @ solved)
        )
        if self.start is not None:
            weights = weights + self.start
        return weights, self.y_mean - self.x_mean @ weights

    def predict(
        self, betas: Float[Tensor, "batch voxels"], alpha: float
    ) -> Float[Tensor, "batch features"]:
        """Predict targets for one alpha above 0, without forming the weights."""
        return self.predict_projected(self.project(betas), alpha)

    def project(self, betas: Float[Tensor, "batch voxels"]) -> Float[Tensor, "batch _"]:
        """Return what predictions for every alpha share.

        That is components of betas in the basis, followed by what `start` predicts if there is
        one.
        """
        centred = betas - self.x_mean
        components = centred @ self.basis
        if self.start is None:
            return components
        return torch.cat([components, centred @ self.start], dim=1)

    def predict_projected(
        self, projected: Float[Tensor, "batch _"], alpha: float
    ) -> Float[Tensor, "batch features"]:
        """Predict targets for one alpha above 0 from the output of `project`."""
        components, started = projected.tensor_split([len(self.eigenvalues)], dim=1)
        preds = components @ (self.rotated / (self.eigenvalues + alpha)[:, None]) + self.y_mean
        return preds if self.start is None else preds + started


class RidgeProblem:
    """Ridge regressions onto the same targets from several sets of trials, read in chunks.

    What fits to different trials share is computed once: where trials are fewer than voxels, the
    inner products of all trials; otherwise the covariances of all trials, from which those of the
    trials that are left out are subtracted.

    Parameters
    ----------
    betas
        Trials, (trials, voxels).
    targets
        Target of each trial, (trials, features).
    device
        Device to compute on.
    """

    def __init__(self, betas: Rows, targets: Rows, *, device: torch.device | None = None) -> None:
        self.betas, self.targets = betas, targets
        self.device = device or torch.device("cpu")
        self._width = betas.shape[1] + targets.shape[1]
        self._total: Moments | None = None
        self._every: tuple[Tensor, Tensor, Tensor] | None = None
        self._start: Callable[[Tensor], Tensor] | None = None

    def towards(
        self, start: Callable[[Int[Tensor, " batch"]], Float[Tensor, "voxels features"]]
    ) -> "RidgeProblem":
        """Return the same problem with weights that shrink towards others than zero.

        `start` returns these for the trials that are fitted, and may use no others.
        """
        problem = copy.copy(self)
        problem._start = start
        return problem

    def fit(self, trials: Int[Tensor, " batch"] | None = None) -> RidgeFit:
        """Decompose the problem of some trials, all by default, once for all alphas.

        Minimises ``|XW + b - Y|^2 + alpha |W - S|^2`` with an unpenalised bias b; S is zero, or
        what `towards` was given. Costs the third power of the number of trials or of voxels,
        whichever is smaller, and its square in memory; ValueError if both are above
        `LARGEST_EIGH`.
        """
        n_trials, n_voxels = self.betas.shape
        trials = torch.arange(n_trials) if trials is None else trials
        problem = f"ridge regression with {len(trials)} trials and {n_voxels} voxels"
        start = None if self._start is None else self._start(trials)
        if len(trials) <= n_voxels:
            offset, X, gram = self._gram(trials)
            mean, Y = X.mean(dim=0), self.targets[trials].to(self.device)
            y_mean = Y.mean(dim=0)
            eigenvalues, vectors = decompose(_centre(gram, gram), problem)
            X, Y = X - mean, Y - y_mean
            return RidgeFit(
                x_mean=offset + mean,
                y_mean=y_mean,
                eigenvalues=eigenvalues,
                vectors=vectors,
                rotated=vectors.T @ (Y if start is None else Y - X @ start),
                fitted=(X, trials),
                start=start,
            )
        moments = self._moments(trials)
        gram, products = moments.centred()
        eigenvalues, vectors = decompose(gram, problem)
        return RidgeFit(
            x_mean=moments.x_mean,
            y_mean=moments.y_mean,
            eigenvalues=eigenvalues,
            vectors=vectors,
            rotated=vectors.T @ (products if start is None else products - gram @ start),
            start=start,
        )

    def project(self, ridge: RidgeFit, trials: Int[Tensor, " batch"]) -> Float[Tensor, "batch _"]:
        """Return what a fit's predictions of some trials share, as `RidgeFit.project` does."""
        if ridge.fitted is not None and self._every is not None:
            rows, (offset, X, gram) = ridge.fitted[1], self._every
            components = _centre(gram[trials][:, rows], gram[rows][:, rows]) @ ridge.vectors
            if ridge.start is None:
                return components
            centred = X[trials] - (ridge.x_mean - offset)
            return torch.cat([components, centred @ ridge.start], dim=1)
        chunks = row_chunks(trials, width=self._width)
        return torch.cat([ridge.project(self.betas[c].to(self.device)) for c in chunks])

    def _gram(self, trials: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return an offset near the mean, betas less it, and their inner products."""
        n_trials, n_voxels = self.betas.shape
        if n_trials > n_voxels:
            return _about_mean(self.betas[trials].to(self.device))
        if self._every is None:
            self._every = _about_mean(self.betas[torch.arange(n_trials)].to(self.device))
        offset, X, gram = self._every
        return offset, X[trials], gram[trials][:, trials]

    def _read(self, trials: Tensor) -> tuple[Tensor, Tensor]:
        return self.betas[trials].to(self.device), self.targets[trials].to(self.device)

    def _moments(self, trials: Tensor) -> Moments:
        n_trials = self.betas.shape[0]
        if self._total is None:
            every = torch.arange(n_trials)
            first = row_chunks(every, width=self._width)[0]
            means = (values.mean(dim=0) for values in self._read(first))
            self._total = self._accumulate(every, Moments.about(*means))
        if len(trials) == n_trials:
            return self._total
        part = Moments.about(self._total.x_offset, self._total.y_offset)
        if 2 * len(trials) <= n_trials:
            return self._accumulate(trials, part)
        left_out = torch.ones(n_trials, dtype=torch.bool)
        left_out[trials] = False
        return self._total - self._accumulate(left_out.nonzero()[:, 0], part)

    def _accumulate(self, trials: Tensor, moments: Moments) -> Moments:
        for chunk in row_chunks(trials, width=self._width):
            moments.add(*self._read(chunk))
        return moments


def _about_mean(X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean of rows, the rows less it, and their inner products."""
    mean = X.mean(dim=0)
    X = X - mean
    return mean, X, X @ X.T


def _centre(products: Tensor, fitted: Tensor) -> Tensor:
    """Centre inner products of rows and fitted rows on the fitted rows' mean.

    `fitted` are the inner products of the fitted rows with each other.
    """
    with_mean = products.mean(dim=1, keepdim=True)
    return products - with_mean - fitted.mean(dim=0) + fitted.mean()


def fit_ridge(betas: Rows, targets: Rows) -> RidgeFit:
    """Fit one ridge regression of all trials; see `RidgeProblem.fit`."""
    return RidgeProblem(betas, targets).fit()


def decompose(gram: Tensor, problem: str) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (ascending, at least 0) and eigenvectors of a Gram matrix."""
    if len(gram) > LARGEST_EIGH:
        raise ValueError(
            f"{problem} needs the eigenvectors of a matrix of {len(gram)} rows; LAPACK decomposes "
            f"at most {LARGEST_EIGH}. Use fewer trials (n_trials, sessions) or images, or fewer "
            "voxels."
        )
    eigenvalues, vectors = torch.linalg.eigh(gram)
    return eigenvalues.clamp_min(0), vectors


def mean_by_image(
    values: Float[Tensor, "trials features"], images: Int[Tensor, " trials"]
) -> tuple[Float[Tensor, "images features"], Int[Tensor, " images"]]:
    """Average trials that show the same image; return means and distinct images, ascending."""
    distinct, row = images.unique(return_inverse=True)
    return _mean_of_rows(values, row, len(distinct)), distinct


def _mean_of_rows(values: Tensor, row: Tensor, n_rows: int) -> Tensor:
    sums = values.new_zeros(n_rows, values.shape[1]).index_add_(0, row.to(values.device), values)
    return sums / row.bincount(minlength=n_rows)[:, None].to(values)


def centred_cosines(
    preds: Float[Tensor, "images features"], targets: Float[Tensor, "gallery features"]
) -> Float[Tensor, "images gallery"]:
    """Return cosines between rows after subtracting each side's mean, in blocks of features."""
    width = max(1, CHUNK // max(len(preds), len(targets)))
    products = torch.zeros(len(preds), len(targets), dtype=preds.dtype, device=preds.device)
    squares = [products.new_zeros(len(side)) for side in (preds, targets)]
    for start in range(0, preds.shape[1], width):
        a, b = (side[:, start : start + width] for side in (preds, targets))
        a, b = a - a.mean(dim=0), b - b.mean(dim=0)
        products.addmm_(a, b.T)
        squares[0] += a.square().sum(dim=1)
        squares[1] += b.square().sum(dim=1)
    of_preds, of_targets = (s.sqrt().clamp_min(1e-12) for s in squares)
    return products / of_preds[:, None] / of_targets


def mean_reciprocal_rank(
    preds: Float[Tensor, "images features"], targets: Float[Tensor, "gallery features"]
) -> float:
    """Return the mean reciprocal rank of each image's target among all, by centred cosine.

    The first targets are those of the images, in their order; others only compete with them.
    Smoother than top-1 accuracy and less easily saturated than two-way identification, so it can
    choose settings on few images. Ties share the mean of their ranks.
    """
    similarity = centred_cosines(preds, targets)
    own = similarity.diagonal()[:, None]
    # Without the mean over ties, constant predictions would score 1.
    rank = (similarity > own).sum(dim=1) + ((similarity == own).sum(dim=1) + 1) / 2
    return float((1 / rank).mean())


def image_folds(
    images: Int[Tensor, " trials"], *, n_folds: int, generator: torch.Generator
) -> list[Int[Tensor, " batch"]]:
    """Split trials into folds that share no image; return the trial indices of each fold."""
    distinct, row = images.unique(return_inverse=True)
    if n_folds < 2 or len(distinct) < n_folds:
        raise ValueError(
            f"cannot split {len(distinct)} distinct images into {n_folds} folds; "
            "at least 2 folds and one image a fold are needed. Train on more images: settings "
            "sessions, n_trials and train_on. Few images that were shown often answer another "
            "question, which of them was seen: prepare them with --set table.design=known_images "
            "(or glmsingle., bids.)."
        )
    fold = torch.randperm(len(distinct), generator=generator) % n_folds
    return [(fold[row] == f).nonzero()[:, 0] for f in range(n_folds)]


def trial_folds(
    images: Int[Tensor, " trials"], *, n_folds: int, generator: torch.Generator
) -> list[Int[Tensor, " batch"]]:
    """Split trials into folds that share images: the trials of each image are spread evenly."""
    fold = torch.empty_like(images)
    for image in images.unique():
        rows = (images == image).nonzero()[:, 0]
        first = int(torch.randint(n_folds, (), generator=generator))
        order = torch.randperm(len(rows), generator=generator)
        fold[rows[order]] = (torch.arange(len(rows)) + first) % n_folds
    found = [(fold == f).nonzero()[:, 0] for f in range(n_folds)]
    return [rows for rows in found if len(rows)]


def choose_alpha(
    problem: RidgeProblem,
    images: Int[Tensor, " trials"],
    *,
    generator: torch.Generator,
    n_folds: int = 5,
    known_images: bool = False,
    alphas: Sequence[float] = ALPHAS,
    read_out: Callable[[Tensor], Tensor] | None = None,
    gallery_of: Callable[[Tensor], Tensor] | None = None,
) -> tuple[float, dict[float, float]]:
    """Choose the alpha that identifies held-out images best.

    Parameters
    ----------
    problem
        Z-scored betas of the training trials and what the ridge predicts.
    images
        Image of each trial; all repeats of an image are in one fold.
    generator
        Shuffles images into folds.
    n_folds
        Folds over images; fewer where a fold would have less than two images, which could not
        be told apart. At most `N_IDENTIFIED` images of each are identified.
    known_images
        Folds are over trials instead, so that held-out trials show images of the fitted ones.
    alphas
        Values to choose from.
    read_out
        Applied to predictions before they are compared, e.g. frozen layers; nothing by default.
    gallery_of
        Returns what the output of `read_out` is compared with, given images; `problem.targets` of
        these images by default.

    Returns
    -------
    tuple
        The best alpha, and the mean reciprocal rank of every alpha.
    """
    scores = dict.fromkeys(alphas, 0.0)
    split = trial_folds if known_images else image_folds
    if not known_images:
        n_folds = min(n_folds, len(images.unique()) // 2)
    for held_out in split(images, n_folds=n_folds, generator=generator):
        fitted = torch.ones(len(images), dtype=torch.bool)
        fitted[held_out] = False
        ridge = problem.fit(fitted.nonzero()[:, 0])
        shown = _sample(images[held_out].unique(), N_IDENTIFIED, generator)
        trials = held_out[torch.isin(images[held_out], shown)]
        row = torch.searchsorted(shown, images[trials])
        if gallery_of is None:
            gallery = _mean_of_rows(problem.targets[trials].to(problem.device), row, len(shown))
        else:
            gallery = gallery_of(shown)
        projected = problem.project(ridge, trials)
        for alpha in alphas:
            averaged = torch.zeros_like(gallery)
            for chunk in row_chunks(torch.arange(len(trials)), width=gallery.shape[1]):
                preds = ridge.predict_projected(projected[chunk], alpha)
                preds = read_out(preds) if read_out else preds
                averaged.index_add_(0, row[chunk].to(preds.device), preds)
            averaged /= row.bincount()[:, None].to(averaged)
            scores[alpha] += mean_reciprocal_rank(averaged, gallery) / n_folds
    return max(scores, key=lambda a: scores[a]), scores


def _sample(images: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Return at most so many of ascending images, at random, ascending."""
    if len(images) <= n:
        return images
    return images[torch.randperm(len(images), generator=generator)[:n].sort().values]
