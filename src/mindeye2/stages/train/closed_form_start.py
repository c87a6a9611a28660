"""Closed-form solutions for the brain decoder: its start, new ridges, and held-out predictions."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mindeye2.core.runtime import generator, progress
from mindeye2.models.closed_form import choose_alpha, fit_ridge, image_folds, pca_components
from mindeye2.models.decoder import MindEye
from mindeye2.training.trials import SubjectTrials, TargetBank, all_images

__all__ = ["cross_fitted", "latent_targets", "set_ridge", "start_closed_form"]


@torch.no_grad()
def start_closed_form(
    model: MindEye,
    trials: Mapping[str, SubjectTrials],
    *,
    tokens: TargetBank,
    latents: TargetBank | None,
    seed: int,
) -> dict[str, float]:
    """Set ridges, output layer and low-level head to their closed-form solutions.

    The shared latent space starts as the PCA scores of the target tokens: each subject's ridge is
    a ridge regression onto them, the output layer is the inverse PCA, and the residual blocks
    between them start as the identity.

    Parameters
    ----------
    model
        Changed in place; on the CPU.
    trials
        Training trials by subject.
    tokens
        Target tokens of every image.
    latents
        Low-level latents of every image; None without a low-level head.
    seed
        Samples the folds that choose each alpha.

    Returns
    -------
    dict
        The alpha of each subject.
    """
    images = all_images(trials)
    bank = tokens[images].flatten(1)
    n_components = min(model.ridge.n_latent, len(images) - 1)
    components, mean = pca_components(bank, n_components=n_components)
    output = model.backbone.output
    output.weight.zero_()
    output.weight[:, :n_components] = components
    output.bias.copy_(mean)
    # Of every image by its index in the data set; only training images are filled.
    scores = bank.new_zeros(len(tokens), n_components)
    scores[images] = (bank - mean) @ components
    if model.lowlevel is not None and model.lowlevel.upsampler is None:
        assert latents is not None
        lowlevel = fit_ridge(scores[images], latents[images].flatten(1))
        # The scores have variances far above 1, so this alpha only guards against tiny ones.
        weights, bias = lowlevel.weights(alpha=float(len(images)))
        model.lowlevel.linear.weight.zero_()
        model.lowlevel.linear.weight[:, :n_components] = weights.T
        model.lowlevel.linear.bias.copy_(bias)
    alphas = {}
    for subject, own in progress(trials.items(), label="closed-form start"):
        targets = scores[own.images]
        folds = generator(seed, "folds", subject)
        alphas[subject], _ = choose_alpha(own.betas, targets, own.images, generator=folds)
        set_ridge(model, subject, betas=own.betas, targets=targets, alpha=alphas[subject])
    return alphas


@torch.no_grad()
def set_ridge(
    model: MindEye,
    subject: str,
    *,
    betas: Float[Tensor, "trials voxels"],
    targets: Float[Tensor, "trials components"],
    alpha: float,
) -> None:
    """Set one subject's ridge to the ridge regression of `betas` onto `targets`.

    Latent dimensions beyond those of `targets` are set to zero.
    """
    weights, bias = fit_ridge(betas, targets).weights(alpha)
    layer = model.ridge.maps[subject]
    assert isinstance(layer, nn.Linear)
    layer.weight.zero_()
    layer.bias.zero_()
    layer.weight[: weights.shape[1]] = weights.T
    layer.bias[: len(bias)] = bias


@torch.no_grad()
def latent_targets(
    model: MindEye, images: Int[Tensor, " trials"], *, tokens: TargetBank
) -> Float[Tensor, "trials latent"]:
    """Return the latents that the output layer maps closest to the true tokens of each trial.

    The residual blocks start as the identity and stay close to it, so that these are nearly the
    best latents for the whole backbone.
    """
    output = model.backbone.output
    bias, inverse = output.bias.cpu(), torch.linalg.pinv(output.weight.cpu())
    distinct, index = images.unique(return_inverse=True)
    latents: Tensor = ((tokens[distinct].flatten(1) - bias) @ inverse.T)[index]
    return latents


@torch.no_grad()
def cross_fitted(
    model: MindEye,
    trials: Mapping[str, SubjectTrials],
    *,
    tokens: TargetBank,
    n_folds: int,
    seed: int,
) -> tuple[Float[Tensor, "trials latent"], Int[Tensor, " trials"]]:
    """Predict latents of trials with ridges that were fitted to other images.

    A prior that is trained on predictions of fitted trials relies on them too much. Half of the
    predictions are of single trials, half of the mean over an image's repeats.

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

    Returns
    -------
    tuple
        Predicted latents, and the image of each.
    """
    preds, images = [], []
    for subject, own in trials.items():
        targets = latent_targets(model, own.images, tokens=tokens)
        folds = generator(seed, "cross-fit", subject)
        alpha, _ = choose_alpha(own.betas, targets, own.images, generator=folds)
        for fold in image_folds(own.images, n_folds=n_folds, generator=folds):
            held_out = torch.ones(len(own), dtype=torch.bool)
            held_out[fold] = False
            ridge = fit_ridge(own.betas[fold], targets[fold])
            single = own.rows(held_out)
            for part in (single, single.averaged()):
                preds.append(ridge.predict(part.betas, alpha))
                images.append(part.images)
    return torch.cat(preds), torch.cat(images)
