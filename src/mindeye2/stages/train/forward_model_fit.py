"""Fit of the forward model to held-out predictions, without the tokens that they decode to."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.models.closed_form import mean_reciprocal_rank
from mindeye2.models.decoder import MindEye
from mindeye2.models.forward_model import (
    ForwardModel,
    choose_forward_model,
    fit_forward_model,
    whitening_map,
)
from mindeye2.models.moments import Moments
from mindeye2.stages.train.closed_form_start import orthonormal_basis, pca_scores
from mindeye2.training.trials import SubjectTrials, TargetBank

__all__ = ["fit_on_held_out"]

_N_OTHERS = 700
"""Training images, at most, that compete with those of validation."""


@torch.no_grad()
def fit_on_held_out(
    model: MindEye,
    validation: Mapping[str, SubjectTrials],
    *,
    preds: TargetBank,
    images: Int[Tensor, " trials"],
    tokens: TargetBank,
    out: Path,
) -> dict[str, float]:
    """Fit the forward model; save it if it identifies validation images better than none.

    Its whitening is kept on the same condition. Decoded tokens lie in the span of the output
    layer, so true tokens are projected there.

    Parameters
    ----------
    model
        Decodes tokens.
    validation
        Averaged validation trials by subject, which choose alpha.
    preds
        Latents that ridges predicted for trials that they were not fitted to.
    images
        Image of each of them.
    tokens
        True tokens of every image.
    out
        Run folder.

    Returns
    -------
    dict
        Mean reciprocal rank of validation images among themselves and training images, by alpha,
        without a forward model, and with the best one ``"whitened"``.
    """
    output = model.backbone.output
    device, distinct = output.weight.device, images.unique()
    basis = orthonormal_basis(output.weight)
    true = pca_scores(
        tokens, distinct, mean=output.bias, components=output.weight, inverse=basis, folder=out
    )
    others = distinct[:: -(-len(distinct) // _N_OTHERS)]
    moments = Moments.about(
        torch.zeros(basis.shape[1], dtype=torch.float64, device=device),
        torch.zeros(output.in_features, dtype=torch.float64, device=device),
    )
    for rows in torch.arange(len(images)).split(1024):
        refined = model.backbone.trunk(preds[rows].to(device))
        moments.add(true[images[rows]].to(device).double(), refined.double())

    def score(forward_model: ForwardModel | None) -> float:
        def gallery_of(rows: Tensor) -> Tensor:
            parts = [tokens[part] for part in rows.split(64)]
            if forward_model is None:
                return torch.cat(parts)
            return torch.cat([forward_model.whiten(forward_model(part)) for part in parts])

        # Among each other, validation images are found too often to choose by.
        rest = gallery_of(others)
        ranks = []
        for subject, own in validation.items():
            apart = ~torch.isin(others, own.images)
            gallery = torch.cat([gallery_of(own.images), rest[apart]])
            decoded = [
                model(betas.to(device), subject=subject).backbone_tokens.cpu()
                for betas in own.betas.split(64)
            ]
            queries = torch.cat(decoded)
            queries = queries if forward_model is None else forward_model.whiten(queries)
            ranks.append(mean_reciprocal_rank(queries.flatten(1), gallery.flatten(1)))
        return sum(ranks) / len(ranks)

    # Alphas in units of the scores' summed squares do not depend on the number of trials.
    unit = float(moments.xx.trace() / basis.shape[1])
    best, scores = choose_forward_model(
        lambda alpha: fit_forward_model(
            moments,
            mean=output.bias,
            components=output.weight,
            alpha=alpha * unit,
            basis=basis,
        ),
        score,
        alphas=(0.03, 0.1, 0.3, 1.0),
    )
    if best is None:
        return scores
    covariance = _errors(model, best, preds=preds, images=images, true=true, basis=basis)
    whitened = replace(best, whitening=basis @ whitening_map(covariance).to(basis))
    score_whitened = score(whitened)
    (whitened if score_whitened > max(scores.values()) else best).save(out)
    return scores | {"whitened": score_whitened}


def _errors(
    model: MindEye,
    forward_model: ForwardModel,
    *,
    preds: TargetBank,
    images: Int[Tensor, " trials"],
    true: TargetBank,
    basis: Float[Tensor, "latent components"],
) -> Float[Tensor, "components components"]:
    """Return the covariance of decoded tokens about expected ones, in the output layer's basis."""
    components = forward_model.components
    to_basis = components.T @ components @ basis
    weights, bias = to_basis.T @ forward_model.weights @ to_basis, forward_model.bias @ to_basis
    products = torch.zeros(*weights.shape, dtype=torch.float64, device=weights.device)
    for rows in torch.arange(len(images)).split(1024):
        decoded = model.backbone.trunk(preds[rows].to(weights)) @ to_basis
        errors = (decoded - true[images[rows]].to(weights) @ weights - bias).double()
        products.addmm_(errors.T, errors)
    return products / len(images)
