"""Validation scores that training looks at."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mindeye2.metrics import two_way_identification
from mindeye2.models.closed_form import mean_reciprocal_rank
from mindeye2.models.decoder import MindEye
from mindeye2.training.trials import SubjectTrials, TargetBank

__all__ = ["identification"]


@torch.no_grad()
def identification(
    model: MindEye,
    held: Mapping[str, SubjectTrials],
    *,
    tokens: TargetBank,
    device: torch.device,
) -> dict[str, float]:
    """Identify held-back images from predicted tokens, averaged over subjects.

    Parameters
    ----------
    model
        In eval mode.
    held
        Averaged held-back trials by subject; a subject's own images are its gallery.
    tokens
        True tokens of every image.
    device
        Where the model is.

    Returns
    -------
    dict
        ``top1`` and ``reciprocal_rank`` (image given brain, centred cosine, backbone tokens),
        ``top1_projected`` (retrieval tokens), ``two_way``, ``mse``.
    """
    rows = []
    for subject, own in held.items():
        out = model.heads(model.ridge(own.betas.to(device), subject=subject))
        true = tokens[own.images].flatten(1)
        backbone, projected = (
            t.flatten(1).cpu() for t in (out.backbone_tokens, out.retrieval_tokens)
        )
        rows.append(
            {
                "top1": _top1(backbone, true),
                "top1_projected": _top1(projected, true),
                "reciprocal_rank": mean_reciprocal_rank(backbone, true),
                "two_way": float(two_way_identification(backbone, true).mean()),
                "mse": float(F.mse_loss(backbone, true)),
            }
        )
    return {key: sum(r[key] for r in rows) / len(rows) for key in rows[0]}


def _top1(
    predicted: Float[Tensor, "images features"], true: Float[Tensor, "images features"]
) -> float:
    query = F.normalize(predicted - predicted.mean(dim=0), dim=1)
    gallery = F.normalize(true - true.mean(dim=0), dim=1)
    hits = (query @ gallery.T).argmax(dim=1) == torch.arange(len(query))
    return float(hits.float().mean())
