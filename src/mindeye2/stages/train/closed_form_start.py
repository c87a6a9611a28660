"""Closed-form solutions for the brain decoder: its start, new ridges, and held-out predictions.

Betas and tokens are read in chunks, and what there is of every image or trial is kept in files, so
that memory does not grow with their number.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import gather_object
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor, nn

from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import generator, progress
from mindeye2.core.tensors import save_tensors
from mindeye2.models.closed_form import RidgeProblem, choose_alpha, image_folds
from mindeye2.models.decoder import MindEye
from mindeye2.models.moments import row_chunks
from mindeye2.models.pca import pca_components
from mindeye2.training.distributed import run_on_rank0
from mindeye2.training.trials import SubjectTrials, TargetBank, TargetRows, all_images

__all__ = [
    "cross_fitted",
    "latent_targets",
    "orthonormal_basis",
    "pca_scores",
    "set_ridge",
    "start_closed_form",
]

_START = "start.safetensors"
_SET = ("ridge.", "backbone.output.", "lowlevel.linear.")
"""Parameters that the start sets, by the beginning of their names."""


def start_closed_form(
    model: MindEye,
    trials: Mapping[str, SubjectTrials],
    *,
    tokens: TargetBank,
    latents: TargetBank | None,
    seed: int,
    folder: Path,
    n_pca_images: int = 10_000,
    known_images: bool = False,
) -> dict[str, float]:
    """Set ridges, output layer and low-level head to their closed-form solutions.

    The shared latent space starts as the PCA scores of the target tokens: each subject's ridge is
    a ridge regression onto them, the output layer is the inverse PCA, and the residual blocks
    between them start as the identity. It is computed once, on rank 0, and kept in `folder`, from
    where other ranks and a resumed run read it.

    Parameters
    ----------
    model
        Changed in place; computed on its device.
    trials
        Training trials by subject.
    tokens
        Target tokens of every image.
    latents
        Low-level latents of every image; None without a low-level head.
    seed
        Samples the images of the PCA and the folds that choose each alpha.
    folder
        Where to keep the result, and while it is computed the PCA scores of all images.
    n_pca_images
        Training images, at random, whose tokens give the principal components.
    known_images
        Choose alpha by identification of images that were trained on, from other trials.

    Returns
    -------
    dict
        The alpha of each subject.
    """

    def compute() -> None:
        images = all_images(trials)
        chosen = _pca_images(images, n_pca_images, seed=seed)
        scores = _start_output(model, images, chosen, tokens=tokens, folder=folder)
        _start_lowlevel(model, images, scores=scores, latents=latents)
        alphas = _start_ridges(model, trials, scores=scores, seed=seed, known_images=known_images)
        found = {name: p for name, p in model.named_parameters() if name.startswith(_SET)}
        save_tensors(found, folder / _START, metadata={"alphas": json.dumps(alphas)})

    _compute_on_rank0(compute, file=folder / _START)
    parameters = dict(model.named_parameters())
    with safe_open(folder / _START, "pt") as stored, torch.no_grad():
        for name in stored.keys():  # noqa: SIM118 - no mapping
            parameters[name].copy_(stored.get_tensor(name))
        alphas: dict[str, float] = json.loads(stored.metadata()["alphas"])
    return alphas


def _compute_on_rank0(compute: Callable[[], None], *, file: Path) -> None:
    """Write a file on rank 0, unless it is there, and check that all ranks find it."""

    def write() -> None:
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            compute()

    run_on_rank0(write)
    found: list[bool] = gather_object([file.exists()])
    if not all(found):
        raise ArtifactError(
            f"not all processes find {file}, which the first one wrote. Give an --out on a file "
            "system that all machines read."
        )


@torch.no_grad()
def _start_output(
    model: MindEye, images: Tensor, chosen: Tensor, *, tokens: TargetBank, folder: Path
) -> TargetBank:
    """Set the output layer to the inverse PCA of chosen images; return the scores of all."""
    output = model.backbone.output
    n_components = min(model.ridge.n_latent, len(chosen) - 1)
    output.weight.zero_()
    components, mean = pca_components(
        tokens.flat, n_components=n_components, rows=chosen, out=output.weight[:, :n_components]
    )
    output.bias.copy_(mean)
    return pca_scores(tokens, images, mean=mean, components=components, folder=folder)


@torch.no_grad()
def _start_lowlevel(
    model: MindEye, images: Tensor, *, scores: TargetBank, latents: TargetBank | None
) -> None:
    """Set a linear low-level head to the ridge regression of latents onto PCA scores."""
    if model.lowlevel is None or model.lowlevel.upsampler is not None:
        return
    assert latents is not None
    layer = model.lowlevel.linear
    problem = RidgeProblem(
        TargetRows(scores, images), TargetRows(latents.flat, images), device=layer.weight.device
    )
    # The scores have variances far above 1, so this alpha only guards against tiny ones.
    _set(layer, *problem.fit().weights(alpha=float(len(images))), dim=1)


@torch.no_grad()
def _start_ridges(
    model: MindEye,
    trials: Mapping[str, SubjectTrials],
    *,
    scores: TargetBank,
    seed: int,
    known_images: bool,
) -> dict[str, float]:
    """Set each subject's ridge to the regression onto PCA scores; return the alphas."""
    alphas = {}
    for subject, own in progress(trials.items(), label="closed-form start"):
        problem = RidgeProblem(
            own.betas, TargetRows(scores, own.images), device=model.backbone.output.weight.device
        )
        folds = generator(seed, "folds", subject)
        alphas[subject], _ = choose_alpha(
            problem, own.images, generator=folds, known_images=known_images
        )
        set_ridge(model, subject, problem, alpha=alphas[subject])
    return alphas


def _pca_images(images: Int[Tensor, " images"], n: int, *, seed: int) -> Int[Tensor, " _"]:
    """Sample the images of the PCA: all, or as many as are asked for, ascending."""
    order = torch.randperm(len(images), generator=generator(seed, "pca"))
    return images[order[:n].sort().values]


@torch.no_grad()
def set_ridge(model: MindEye, subject: str, problem: RidgeProblem, *, alpha: float) -> None:
    """Set one subject's ridge to the solution of a problem of all its trials.

    Latent dimensions beyond those of the targets are set to zero.
    """
    layer = model.ridge.maps[subject]
    assert isinstance(layer, nn.Linear)
    _set(layer, *problem.fit().weights(alpha), dim=0)


def _set(layer: nn.Linear, weights: Tensor, bias: Tensor, *, dim: int) -> None:
    """Set a layer whose inputs (`dim` 1) or outputs (0) are more than those of the weights."""
    layer.weight.zero_()
    layer.weight.narrow(dim, 0, weights.T.shape[dim]).copy_(weights.T)
    layer.bias.zero_()
    layer.bias[: len(bias)] = bias


@torch.no_grad()
def pca_scores(
    tokens: TargetBank,
    images: Int[Tensor, " images"],
    *,
    mean: Float[Tensor, " features"],
    components: Float[Tensor, "features components"],
    inverse: Float[Tensor, "components _"] | None = None,
    folder: Path | None = None,
) -> TargetBank:
    """Compute PCA scores of some images, times `inverse`; rows of other images are not filled.

    They are in a file without a name in `folder`, which is gone when nothing refers to it.
    """
    shape = (len(tokens), (components if inverse is None else inverse).shape[1])
    with tempfile.TemporaryFile(dir=folder) as file:
        scores = np.memmap(file, np.float32, "w+", shape=shape)
    bank = tokens.flat
    for chunk in row_chunks(images, width=bank.shape[1]):
        values = (bank[chunk].to(mean) - mean) @ components
        values = values if inverse is None else values @ inverse
        scores[chunk.numpy()] = values.cpu().numpy()
    return TargetBank(scores)


@torch.no_grad()
def latent_targets(
    model: MindEye,
    images: Int[Tensor, " trials"],
    *,
    tokens: TargetBank,
    folder: Path | None = None,
) -> TargetBank:
    """Return the latents that the output layer maps closest to the true tokens of images.

    The residual blocks start as the identity and stay close to it, so that these are nearly the
    best latents for the whole backbone.
    """
    output = model.backbone.output
    basis = orthonormal_basis(output.weight)
    return pca_scores(
        tokens,
        images.unique(),
        mean=output.bias,
        components=output.weight,
        inverse=basis @ basis.T,
        folder=folder,
    )


def orthonormal_basis(
    weight: Float[Tensor, "features latent"],
) -> Float[Tensor, "latent components"]:
    """Return a matrix B, of which W @ B is an orthonormal basis of the columns of W.

    So B @ B.T @ W.T is the pseudo-inverse of W. It costs the latents' number squared, where an SVD
    of W itself costs several copies.
    """
    gram = weight.new_zeros(weight.shape[1], weight.shape[1], dtype=torch.float64)
    for chunk in row_chunks(torch.arange(len(weight)), width=weight.shape[1]):
        part = weight[chunk[0] : chunk[-1] + 1].double()
        gram.addmm_(part.T, part)
    eigenvalues, vectors = torch.linalg.eigh(gram)
    # As `torch.linalg.pinv` does: singular values below this part of the largest are noise.
    tolerance = min(1e-3, max(weight.shape) * torch.finfo(weight.dtype).eps)
    kept = eigenvalues > eigenvalues[-1] * tolerance**2
    basis: Tensor = vectors[:, kept] / eigenvalues[kept].sqrt()
    return basis.to(weight.dtype)


@torch.no_grad()
def cross_fitted(
    model: MindEye,
    trials: Mapping[str, SubjectTrials],
    *,
    tokens: TargetBank,
    n_folds: int,
    seed: int,
    folder: Path,
    alphas: Mapping[str, float] | None = None,
) -> tuple[TargetBank, Int[Tensor, " trials"]]:
    """Predict latents of trials with ridges that were fitted to other images.

    A prior that is trained on predictions of fitted trials relies on them too much. Half of the
    predictions are of single trials, half of the mean over an image's repeats. They are computed
    on rank 0 and kept in `folder`, where a resumed run finds them.

    Parameters
    ----------
    model
        Its output layer defines the latents.
    trials
        Training trials by subject.
    tokens
        Target tokens of every image.
    n_folds
        A ridge is fitted to one fold and predicts all others.
    seed
        Samples the folds.
    folder
        Where to keep them.
    alphas
        Alpha of each subject, e.g. that of the closed-form start; chosen anew by default.

    Returns
    -------
    tuple
        Predicted latents, which stay on disk, and the image of each.
    """

    def compute() -> None:
        images = _cross_fit(
            model,
            trials,
            tokens=tokens,
            n_folds=n_folds,
            seed=seed,
            folder=folder,
            alphas=alphas or {},
        )
        # Written last: the latents are complete where it exists.
        np.save(folder / "images.npy", images.numpy())

    _compute_on_rank0(compute, file=folder / "images.npy")
    latents = np.load(folder / "latents.npy", mmap_mode="r")
    return TargetBank(latents), torch.from_numpy(np.load(folder / "images.npy"))


def _cross_fit(
    model: MindEye,
    trials: Mapping[str, SubjectTrials],
    *,
    tokens: TargetBank,
    n_folds: int,
    seed: int,
    folder: Path,
    alphas: Mapping[str, float],
) -> Tensor:
    """Write ``latents.npy``; return the image of each of its rows."""
    targets = latent_targets(model, all_images(trials), tokens=tokens, folder=folder)
    n_rows = sum(len(own) + len(own.images.unique()) for own in trials.values())
    shape = ((n_folds - 1) * n_rows, *targets.row_shape)
    latents = np.lib.format.open_memmap(folder / "latents.npy", "w+", np.float32, shape)
    device, shown, done = model.backbone.output.weight.device, [], 0
    for subject, own in progress(trials.items(), label="cross-fitting"):
        problem = RidgeProblem(own.betas, TargetRows(targets, own.images), device=device)
        folds = generator(seed, "cross-fit", subject)
        alpha = alphas.get(subject) or choose_alpha(problem, own.images, generator=folds)[0]
        for fold in image_folds(own.images, n_folds=n_folds, generator=folds):
            ridge = problem.fit(fold)
            held_out = torch.ones(len(own), dtype=torch.bool)
            held_out[fold] = False
            others = held_out.nonzero()[:, 0]
            distinct, row = own.images[others].unique(return_inverse=True)
            means = torch.zeros(len(distinct), *targets.row_shape)
            for rows in row_chunks(torch.arange(len(others)), width=own.betas.shape[1]):
                projected = problem.project(ridge, others[rows])
                preds = ridge.predict_projected(projected, alpha).cpu()
                latents[done : done + len(rows)] = preds.numpy()
                done += len(rows)
                means.index_add_(0, row[rows], preds)
            # Predictions are linear: of an image's mean, they are the mean of its trials'.
            latents[done : done + len(means)] = means / row.bincount()[:, None]
            done += len(means)
            shown += [own.images[others], distinct]
    latents.flush()
    return torch.cat(shown)
