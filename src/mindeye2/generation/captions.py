"""Captions of decoded tokens."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

__all__ = ["nearest_captions"]


def nearest_captions(
    similarity: Float[Tensor, "query bank"], captions: Sequence[str]
) -> list[str]:
    """Give each query the caption of the most similar training image.

    This says what the nearest known picture shows; it can describe nothing that no training
    caption describes. A captioner that writes (GIT) comes with the released weights.

    Parameters
    ----------
    similarity
        Similarity of each query to each training image.
    captions
        Captions of the training images.

    Returns
    -------
    list of str
        One caption per query.

    Raises
    ------
    ValueError
        If there is not one caption per training image.
    """
    if similarity.shape[1] != len(captions):
        raise ValueError(
            f"{similarity.shape[1]} training images need as many captions, got {len(captions)}."
        )
    return [captions[i] for i in similarity.argmax(dim=1).tolist()]
