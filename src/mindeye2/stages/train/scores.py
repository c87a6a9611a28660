"""Validation scores during training."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mindeye2.metrics import two_way_identification
from mindeye2.models.closed_form import centred_cosines, mean_reciprocal_rank
from mindeye2.models.decoder import MindEye
from mindeye2.training.trials import SubjectTrials, TargetBank

__all__ = ["identification"]

_BATCH = 256
"""Trials of one forward pass."""


@torch.no_grad()
def identification(
    model: MindEye,
    held_out: Mapping[str, SubjectTrials],
    *,
    tokens: TargetBank,
    device: torch.device,
) -> dict[str, float]:
    """Identify held-out images from predicted tokens, averaged over subjects.

    `held_out` are averaged trials by subject; a subject's own images are its gallery. Returns
    ``top1`` and ``reciprocal_rank`` (image given brain, centred cosine, backbone tokens),
    ``top1_retrieval_head`` (retrieval tokens), ``two_way`` and ``mse``.
    """
    rows = []
    for subject, own in held_out.items():
        targets = tokens[own.images].flatten(1)
        outputs = [model(betas.to(device), subject=subject) for betas in own.betas.split(_BATCH)]
        backbone = torch.cat([out.backbone_tokens.flatten(1).cpu() for out in outputs])
        retrieval = torch.cat([out.retrieval_tokens.flatten(1).cpu() for out in outputs])
        rows.append(
            {
                "top1": _top1(backbone, targets),
                "top1_retrieval_head": _top1(retrieval, targets),
                "reciprocal_rank": mean_reciprocal_rank(backbone, targets),
                "two_way": float(two_way_identification(backbone, targets).mean()),
                "mse": float(F.mse_loss(backbone, targets)),
            }
        )
    return {key: sum(r[key] for r in rows) / len(rows) for key in rows[0]}


def _top1(preds: Tensor, targets: Tensor) -> float:
    """Return how often the true image is the nearest by centred cosine."""
    hits = centred_cosines(preds, targets).argmax(dim=1) == torch.arange(len(preds))
    return float(hits.float().mean())
