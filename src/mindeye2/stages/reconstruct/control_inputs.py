"""Controls of reconstruction: random betas, and a bottleneck between brain and generator."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.runtime import generator
from mindeye2.data.prepared import Prepared
from mindeye2.models.decoder import MindEye
from mindeye2.models.pca import pca_components
from mindeye2.models.training_bank import TrainingBank
from mindeye2.stages.reconstruct.inference import predict
from mindeye2.stages.reconstruct.reconstruct_settings import ReconstructSettings
from mindeye2.training.trials import BetaRows, SubjectTrials, load_trials

__all__ = ["limit_ridge", "random_betas"]


def random_betas(trials: SubjectTrials, *, seed: int) -> SubjectTrials:
    """Replace the averaged betas of each image by noise of each voxel's mean and deviation."""
    averaged = trials.averaged()
    betas = averaged.betas[:]
    noise = torch.randn(betas.shape, generator=generator(seed, "random betas"))
    if len(betas) > 1:
        noise = noise * betas.std(dim=0) + betas.mean(dim=0)
    return replace(averaged, betas=BetaRows(noise.numpy()))


@torch.no_grad()
def limit_ridge(
    model: MindEye, bank: TrainingBank, *, prepared: Prepared, settings: ReconstructSettings
) -> TrainingBank:
    """Limit a subject's ridge to ``bottleneck`` dimensions; return the bank predicted anew."""
    assert settings.bottleneck is not None
    trials = load_trials(prepared, settings.subject, ["train", "validation"])
    trials = trials.rows(torch.isin(trials.images, bank.images)).averaged()
    device = next(model.parameters()).device
    latents = torch.cat(
        [
            model.ridge(betas.to(device), subject=settings.subject).float().cpu()
            for betas in trials.betas.split(settings.batch_size)
        ]
    )
    model.ridge.project(settings.subject, *_principal(latents, settings.bottleneck))
    predictions = predict(
        model,
        trials,
        subject=settings.subject,
        average="outputs",  # of one row an image: its betas are averaged already
        batch_size=settings.batch_size,
    )
    row = torch.searchsorted(predictions.images, bank.images)
    return replace(bank, preds=predictions.backbone[row])


def _principal(
    latents: Float[Tensor, "images latent"], n_components: int
) -> tuple[Float[Tensor, "latent components"], Float[Tensor, " latent"]]:
    """Compute principal components of latents, and their mean."""
    most = min(len(latents) - 1, latents.shape[1])
    if n_components > most:
        raise ValueError(
            f"bottleneck must be at most {most}, the dimensions of the ridge's output for "
            f"{len(latents)} training images, got {n_components}. Leave it out for all of them."
        )
    if n_components == 0:
        return latents.new_zeros(latents.shape[1], 0), latents.mean(dim=0)
    return pca_components(latents, n_components=n_components)
