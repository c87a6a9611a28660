"""How often a response identifies another response to the same image, without any decoder."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.metrics import top_k_hits, two_way_identification
from mindeye2.metrics.retrieval import similarity
from mindeye2.stages.evaluate.decoded import Decoded, Scores

__all__ = ["repeat_scores"]


def repeat_scores(decoded: Decoded) -> Scores:
    """Identify the mean of every second presentation of an image by the mean of the others.

    Nothing where an image was shown once, or the data set lacks the betas. Each half has half of
    the presentations: a decoder that averages all of them can score higher.
    """
    halves = _halves(decoded)
    if halves is None or len(decoded.images) < 2:
        return Scores()
    # Over the test images: the data set's responses are compared with each other only.
    first, second = (half - half.mean(dim=0) for half in halves)
    return Scores(
        {
            "repeat_top1": top_k_hits(similarity(first, second), k=1),
            "repeat_two_way": two_way_identification(first, second),
        }
    )


def _halves(
    decoded: Decoded,
) -> tuple[Float[Tensor, "images voxels"], Float[Tensor, "images voxels"]] | None:
    """Average every second presentation of each image, in the order of the betas."""
    subject = str(decoded.manifest["subject"])
    # Imported outputs are scored with the stimuli alone.
    if not (decoded.prepared.folder / "betas" / f"{subject}.npy").exists():
        return None
    split = decoded.manifest.get("config", {}).get("split", "test")
    trials = decoded.prepared.trials_of(subject, split)
    betas = decoded.prepared.betas(subject)
    halves: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for image in decoded.images:
        own = trials.index[trials["image"] == image].to_numpy()
        if len(own) < 2:
            return None
        for start, half in enumerate(halves):
            half.append(np.asarray(betas[own[start::2]], np.float32).mean(axis=0))
    return torch.from_numpy(np.stack(halves[0])), torch.from_numpy(np.stack(halves[1]))
