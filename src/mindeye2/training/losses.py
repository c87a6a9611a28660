"""Contrastive and regression losses, as functions; always computed in float32.

Rows are flattened and normalised here, so that tokens can be given as they are. Negatives are the
other rows of the batch: with several processes, gather predictions and targets of all ranks first
(`mindeye2.training.distributed.gather_rows`) and give every rank the mix of the whole batch.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from mindeye2.training.mixing import Mix

__all__ = [
    "bimixco_loss",
    "info_nce_loss",
    "soft_clip_loss",
    "soft_clip_temperatures",
    "soft_contrastive_loss",
]


def _check(preds: Tensor, targets: Tensor, temperature: float) -> None:
    if temperature <= 0:
        raise ValueError(f"temperature must be greater than 0, got {temperature}.")
    if preds.shape != targets.shape:
        raise ValueError(
            f"predictions and targets must have the same shape, got {tuple(preds.shape)} and "
            f"{tuple(targets.shape)}."
        )


def _unit_rows(x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch features"]:
    return F.normalize(x.float().flatten(1), dim=-1)


def _cross_entropy(
    logits: Float[Tensor, "batch gallery"], labels: Float[Tensor, "batch gallery"]
) -> Float[Tensor, ""]:
    return -(labels * logits.log_softmax(dim=-1)).sum(dim=-1).mean()


def info_nce_loss(
    preds: Float[Tensor, "batch ..."], targets: Float[Tensor, "batch ..."], *, temperature: float
) -> Float[Tensor, ""]:
    """Contrastive loss with one right answer per row, the mean of the two directions.

    Parameters
    ----------
    preds
        Predicted embeddings.
    targets
        True embeddings of the same images, in the same order.
    temperature
        Divides every cosine, greater than 0.

    Returns
    -------
    Tensor
        Loss in nats, mean over the batch.

    Raises
    ------
    ValueError
        If `temperature` is not positive or the shapes differ.

    References
    ----------
    Radford et al. 2021, "CLIP", arXiv:2103.00020.
    """
    _check(preds, targets, temperature)
    with torch.autocast(preds.device.type, enabled=False):
        logits = _unit_rows(preds) @ _unit_rows(targets).T / temperature
        right = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


def bimixco_loss(
    preds: Float[Tensor, "batch ..."],
    targets: Float[Tensor, "batch ..."],
    mix: Mix,
    *,
    temperature: float,
    released: bool = False,
) -> Float[Tensor, ""]:
    """Contrastive loss for mixed betas: both images of a mix are right, by their weights.

    Rows with the same image are no false negatives of each other: their targets are equal, and so
    the loss is that of labels which such rows share.

    Parameters
    ----------
    preds
        Embeddings predicted from mixed betas.
    targets
        True embeddings of the unmixed images, in the same order.
    mix
        How the betas were mixed; for several subjects see
        `mindeye2.training.mixing.concatenate_mixes`.
    temperature
        Divides every cosine, greater than 0.
    released
        Label a row that is its own partner as the released code does: the partner's weight
        replaces the row's own instead of being added to it, so that its labels do not sum to one.

    Returns
    -------
    Tensor
        Loss in nats, the mean of the two directions and over the batch.

    Raises
    ------
    ValueError
        If `temperature` is not positive or the shapes differ.

    References
    ----------
    Scotti et al. 2023, "Reconstructing the mind's eye", arXiv:2305.18274, equation 1.
    """
    _check(preds, targets, temperature)
    with torch.autocast(preds.device.type, enabled=False):
        logits = _unit_rows(preds) @ _unit_rows(targets).T / temperature
        kept = mix.kept.to(logits)
        rows = torch.arange(len(logits), device=logits.device)
        partners = (rows, mix.permutation.to(logits.device))
        labels = kept.diag().index_put(partners, 1 - kept, accumulate=not released)
        return (_cross_entropy(logits, labels) + _cross_entropy(logits.T, labels.T)) / 2


def soft_clip_loss(
    preds: Float[Tensor, "batch ..."], targets: Float[Tensor, "batch ..."], *, temperature: float
) -> Float[Tensor, ""]:
    """Contrastive loss whose labels are the targets' similarities among themselves.

    As `temperature` goes to 0 it tends to `info_nce_loss`, unless two images are the same.

    Parameters
    ----------
    preds
        Predicted embeddings.
    targets
        True embeddings of the same images, in the same order.
    temperature
        Divides every cosine, of labels and of predictions; greater than 0.

    Returns
    -------
    Tensor
        Loss in nats, the mean of the two directions and over the batch.

    Raises
    ------
    ValueError
        If `temperature` is not positive or the shapes differ.

    References
    ----------
    Scotti et al. 2023, "Reconstructing the mind's eye", arXiv:2305.18274, equation 2.
    """
    _check(preds, targets, temperature)
    with torch.autocast(preds.device.type, enabled=False):
        unit_targets = _unit_rows(targets)
        logits = _unit_rows(preds) @ unit_targets.T / temperature
        labels = (unit_targets @ unit_targets.T / temperature).softmax(dim=-1)
        return (_cross_entropy(logits, labels) + _cross_entropy(logits.T, labels)) / 2


def soft_contrastive_loss(
    student: Float[Tensor, "*batch features"],
    teacher: Float[Tensor, "*batch features"],
    teacher_augmented: Float[Tensor, "*batch features"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """Contrastive loss between feature maps: each position of each image is a row of its own.

    The student is compared with the teacher's maps of an augmented image; the labels are the
    similarities of the teacher's maps of the clean image with them.

    Parameters
    ----------
    student
        Predicted feature maps; all axes but the last are rows.
    teacher
        The teacher's maps of the clean images.
    teacher_augmented
        The teacher's maps of the augmented images.
    temperature
        Divides every cosine, greater than 0.

    Returns
    -------
    Tensor
        Loss in nats, the mean of the two directions and over the rows.

    Raises
    ------
    ValueError
        If `temperature` is not positive or the shapes differ.
    """
    _check(student, teacher, temperature)
    _check(student, teacher_augmented, temperature)
    with torch.autocast(student.device.type, enabled=False):
        rows, clean, augmented = (
            _unit_rows(x.reshape(-1, x.shape[-1])) for x in (student, teacher, teacher_augmented)
        )
        logits = rows @ augmented.T / temperature
        similarity = clean @ augmented.T / temperature
        forward = _cross_entropy(logits, similarity.softmax(dim=-1))
        backward = _cross_entropy(logits.T, similarity.T.softmax(dim=-1))
        return (forward + backward) / 2


def soft_clip_temperatures(
    epochs: int, *, mixup_fraction: float, start: float = 0.004, end: float = 0.0075
) -> list[float]:
    """Temperature of the SoftCLIP loss in each epoch after the mixing ends: half a cosine.

    Parameters
    ----------
    epochs
        Length of the whole training.
    mixup_fraction
        Fraction of the epochs, rounded down, that use BiMixCo instead; in [0, 1].
    start
        Temperature of the first epoch without mixing.
    end
        Temperature of the last epoch.

    Returns
    -------
    list of float
        One temperature per epoch without mixing.

    Raises
    ------
    ValueError
        If `mixup_fraction` is not in [0, 1].
    """
    if not 0 <= mixup_fraction <= 1:
        raise ValueError(f"mixup_fraction must be in [0, 1], got {mixup_fraction}.")
    n = epochs - int(mixup_fraction * epochs)
    return [
        end + (start - end) / 2 * (1 + math.cos(math.pi * i / max(n - 1, 1))) for i in range(n)
    ]
