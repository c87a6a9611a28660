"""Fit of the forward model to held-out predictions, without the tokens that they decode to."""

from collections.abc import Callable, Mapping
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
    validated = torch.cat([own.images for own in validation.values()])
    true = pca_scores(
        tokens,
        torch.cat([distinct, validated]).unique(),
        mean=output.bias,
        components=output.weight,
        inverse=basis,
        folder=out,
    )
    others = distinct[:: -(-len(distinct) // _N_OTHERS)]
    zeros = torch.zeros(basis.shape[1], dtype=torch.float64, device=device)
    moments, squares = Moments.about(zeros, zeros), torch.outer(zeros, zeros)
    # From latents to inner products of decoded tokens with the orthonormal basis: the inverse of
    # `basis`, transposed, because its columns are orthogonal.
    to_scores = basis / basis.square().sum(dim=0)

    def decoded_scores(latents: Tensor) -> Tensor:
        scores: Tensor = model.backbone.trunk(latents.to(device)) @ to_scores
        return scores

    for rows in torch.arange(len(images)).split(1024):
        decoded = decoded_scores(preds[rows]).double()
        moments.add(true[images[rows]].to(device).double(), decoded)
        squares.addmm_(decoded.T, decoded)
    latents = {
        subject: torch.cat(
            [model.ridge(betas.to(device), subject=subject) for betas in own.betas.split(64)]
        )
        for subject, own in validation.items()
    }
    decoded_of = {subject: decoded_scores(own)[:, None] for subject, own in latents.items()}

    def reciprocal_rank(
        queries_of: Callable[[str], Tensor], gallery_of: Callable[[Tensor], Tensor]
    ) -> float:
        # Among each other, validation images are found too often to choose by.
        rest, ranks = gallery_of(others), []
        for subject, own in validation.items():
            apart = ~torch.isin(others, own.images)
            gallery = torch.cat([gallery_of(own.images), rest[apart.to(rest.device)]])
            ranks.append(mean_reciprocal_rank(queries_of(subject), gallery))
        return sum(ranks) / len(ranks)

    def score(forward_model: ForwardModel | None) -> float:
        if forward_model is None:
            return reciprocal_rank(
                lambda subject: torch.cat(
                    [
                        model.backbone(part)[1].flatten(1).cpu()
                        for part in latents[subject].split(64)
                    ]
                ),
                lambda rows: tokens[rows].flatten(1),
            )
        # Both sides lie in the span of the output layer, where cosines are those of all tokens.
        return reciprocal_rank(
            lambda subject: forward_model.whiten(decoded_of[subject]).flatten(1),
            lambda rows: forward_model.whiten(
                forward_model(true[rows].to(device)[:, None])
            ).flatten(1),
        )

    unit = float(moments.xx.trace() / basis.shape[1])
    best, scores = choose_forward_model(
        lambda alpha, identity, whitens: fit_forward_model(
            moments,
            mean=torch.zeros_like(to_scores[0]),
            components=torch.eye(basis.shape[1]).to(to_scores),
            alpha=alpha * unit,
            identity=identity,
            squares=squares if whitens else None,
        ),
        score,
        alphas=ALPHAS,
        identities=IDENTITIES,
    )
    if best is not None:
        best.in_components(basis, mean=output.bias, components=output.weight).save(out)
    return scores
