"""The closed-form ridge of a subject that a pretrained model has not seen."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.core.runtime import generator
from mindeye2.models.closed_form import RidgeProblem, choose_alpha
from mindeye2.models.decoder import MindEye
from mindeye2.models.encoding_models import EncodingModels, similar_weights
from mindeye2.models.forward_model import ForwardModel
from mindeye2.stages.train.closed_form_start import latent_targets, set_ridge
from mindeye2.training.trials import SubjectTrials, TargetBank, TargetRows

__all__ = ["NewRidge", "fit_new_ridge"]

STRENGTHS = (1.0, 2.0)
"""Factors of similar voxels' weights to choose from, beside zero. Above one, because these weights
are averages of weights that shrink."""


@dataclass(frozen=True)
class NewRidge:
    """What was chosen for the ridge."""

    alpha: float = 0.0
    """L2 penalty."""

    strength: float = 0.0
    """Factor of the weights of similar voxels, towards which the ridge shrinks."""

    keeps_forward_model: bool = True
    """Whether there is a forward model that identifies at least as many images as true tokens."""


@torch.no_grad()
def fit_new_ridge(
    model: MindEye,
    subject: str,
    trials: SubjectTrials,
    *,
    tokens: TargetBank,
    encoding_models: EncodingModels | None,
    forward_model: ForwardModel | None,
    seed: int,
    folder: Path,
) -> NewRidge:
    """Set the ridge whose latents the body maps closest to the true tokens.

    It shrinks towards zero or towards the weights of similar voxels of the pretraining subjects.
    Which, how much, and whether decoded tokens are compared by way of the forward model, is chosen
    by identification of held-out images.

    Parameters
    ----------
    model
        Changed in place; computed on its device.
    subject
        The new subject, which has a ridge in the model.
    trials
        Its trials.
    tokens
        True tokens of every image.
    encoding_models
        Of the pretraining subjects' voxels, if the run has them.
    forward_model
        Of the pretraining subjects, if the run has one.
    seed
        Samples the folds.
    folder
        Where to keep latents of all images meanwhile.

    Returns
    -------
    NewRidge
        What was chosen.
    """
    device = model.backbone.output.weight.device
    latents = latent_targets(model, trials.images, tokens=tokens, folder=folder)
    problems = {0.0: RidgeProblem(trials.betas, TargetRows(latents, trials.images), device=device)}
    # Where trials outnumber voxels, they determine all weights.
    if encoding_models is not None and len(trials) < trials.betas.shape[1]:
        similar = _similar(encoding_models, model, subject, trials=trials, latents=latents)
        for strength in STRENGTHS:
            problems[strength] = problems[0.0].towards(_times(strength, similar))

    def best(strength: float, gallery: ForwardModel | None = None) -> tuple[float, NewRidge]:
        """Return the score of the best alpha, and what was chosen."""

        def read_out(rows: Tensor) -> Tensor:
            _, decoded = model.backbone(rows)
            return (gallery.whiten(decoded) if gallery else decoded).flatten(1).cpu()

        def gallery_of(images: Tensor) -> Tensor:
            true = tokens[images]
            return (gallery.whiten(gallery(true)) if gallery else true).flatten(1)

        alpha, scores = choose_alpha(
            problems[strength],
            trials.images,
            generator=generator(seed, "folds", subject),
            read_out=read_out,
            gallery_of=gallery_of,
        )
        return scores[alpha], NewRidge(alpha, strength, gallery is not None)

    model.eval()
    # By true tokens: the forward model identifies what shrinks to almost nothing as well.
    score, chosen = max((best(strength) for strength in problems), key=itemgetter(0))
    if forward_model is not None:
        # One of pretraining with few trials may predict what is decoded worse than no model.
        keeps = best(chosen.strength, forward_model)[0] >= score
        chosen = replace(chosen, keeps_forward_model=keeps)
    set_ridge(model, subject, problems[chosen.strength], alpha=chosen.alpha)
    return chosen


def _similar(
    encoding_models: EncodingModels,
    model: MindEye,
    subject: str,
    *,
    trials: SubjectTrials,
    latents: TargetBank,
) -> Callable[[tuple[int, ...]], Float[Tensor, "voxels latent"]]:
    """Return a function from trials to the weights of voxels that are similar in these."""
    device = model.backbone.output.weight.device
    known = [s for s in encoding_models.weights if s != subject]
    # Once for all folds: at the published size the ridges are 1.7 GB.
    encoding = torch.cat([encoding_models.weights[s] for s in known], dim=1).to(device)
    ridges = torch.cat([model.get_parameter(f"ridge.maps.{s}.weight").T for s in known])

    @functools.cache
    def similar(rows: tuple[int, ...]) -> Tensor:
        part = trials.rows(torch.tensor(rows))
        return similar_weights(
            part.betas[torch.arange(len(part))].to(device),
            part.images,
            encoding_models.scores(latents[part.images]).to(device),
            encoding=encoding,
            ridges=ridges,
        )

    return similar


def _times(
    strength: float, similar: Callable[[tuple[int, ...]], Tensor]
) -> Callable[[Int[Tensor, " batch"]], Tensor]:
    return lambda rows: strength * similar(tuple(rows.tolist()))
