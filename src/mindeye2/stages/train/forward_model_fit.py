"""Fit of the forward model to held-out predictions, without the tokens that they decode to."""

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from mindeye2.models.closed_form import mean_reciprocal_rank
from mindeye2.models.decoder import MindEye
from mindeye2.models.forward_model import (
    ForwardModel,
    choose_forward_model,
    fit_forward_model,
)
from mindeye2.models.moments import Moments
from mindeye2.stages.train.closed_form_start import orthonormal_basis, pca_scores
from mindeye2.training.trials import SubjectTrials, TargetBank

__all__ = ["fit_on_held_out"]

ALPHAS = (0.03, 0.1, 0.3, 1.0)
"""L2 penalties to choose from, in units of the mean variance of the true tokens' scores, summed
over trials: they do not depend on the number of trials."""

IDENTITIES = (0.25, 0.5, 0.75)
"""Weights of the true tokens themselves to choose from, beside zero."""

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

    Whether it whitens, and how much of the true tokens it keeps, is chosen likewise. Decoded
    tokens lie in the span of the output layer, so true tokens are projected there.

    Parameters
    ----------
    model
        Decodes tokens.
    validation
        Averaged validation trials by subject, which choose.
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
        Mean reciprocal rank of validation images among themselves and training images, by choice,
        as `choose_forward_model` returns them.
    """
    output = model.backbone.output
    device, distinct = output.weight.device, images.unique()
    basis = orthonormal_basis(output.weight)
    true = pca_scores(
        tokens, distinct, mean=output.bias, components=output.weight, inverse=basis, folder=out
    )
    others = distinct[:: -(-len(distinct) // _N_OTHERS)]
    zeros = torch.zeros(basis.shape[1], dtype=torch.float64, device=device)
    moments, squares = Moments.about(zeros, zeros), torch.outer(zeros, zeros)
    # From latents to inner products of decoded tokens with the orthonormal basis: the inverse of
    # `basis`, transposed, because its columns are orthogonal.
    to_scores = basis / basis.square().sum(dim=0)
    for rows in torch.arange(len(images)).split(1024):
        decoded = (model.backbone.trunk(preds[rows].to(device)) @ to_scores).double()
        moments.add(true[images[rows]].to(device).double(), decoded)
        squares.addmm_(decoded.T, decoded)

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

    unit = float(moments.xx.trace() / basis.shape[1])
    best, scores = choose_forward_model(
        lambda alpha, identity, whitens: fit_forward_model(
            moments,
            mean=output.bias,
            components=output.weight,
            alpha=alpha * unit,
            identity=identity,
            squares=squares if whitens else None,
            basis=basis,
        ),
        score,
        alphas=ALPHAS,
        identities=IDENTITIES,
    )
    if best is not None:
        best.save(out)
    return scores
