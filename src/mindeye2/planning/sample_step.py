"""One training step of a recipe on random data, for planning and for benchmarks."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mindeye2.models.decoder import MindEye, build_mindeye
from mindeye2.models.model_settings import ModelSettings
from mindeye2.stages.train.lora import LoraTraining, add_adapters
from mindeye2.training.brain_step import LossSettings
from mindeye2.training.optimizer import OptimizerSettings

__all__ = ["StepSettings", "random_batch"]


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """What determines the cost of a step."""

    model: ModelSettings
    """Sizes of the model."""

    losses: LossSettings
    """Weights of the losses; terms of weight 0 are not computed."""

    optimizer: OptimizerSettings
    """Optimiser."""

    n_voxels: dict[str, int]
    """Voxels of each subject."""

    per_subject: int
    """Trials of each subject in a step, of all processes together."""

    frozen: tuple[str, ...] = ()
    """Prefixes of parameters that are not trained."""

    lora: LoraTraining | None = None
    """Low-rank adapters, beside which only ridges are trained."""

    def build(self) -> MindEye:
        """Build the model on the default device."""
        model = build_mindeye(self.model, self.n_voxels).train()
        if self.lora is not None:
            add_adapters(model, self.lora, seed=0)
            model.ridge.requires_grad_()
        for name, parameter in model.named_parameters():
            if name.startswith(self.frozen):
                parameter.requires_grad = False
        return model


def random_batch(
    settings: StepSettings,
    *,
    per_subject: int,
    device: torch.device,
    generator: torch.Generator | None = None,
) -> dict[str, Any]:
    """Sample keyword arguments of `BrainStep.forward` for a step that mixes nothing.

    SoftCLIP steps are two thirds of a training and take at least the memory of a BiMixCo step.
    """
    sizes, losses = settings.model, settings.losses
    n = per_subject * len(settings.n_voxels)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    batch: dict[str, Any] = {
        "betas": {s: normal(per_subject, v) for s, v in settings.n_voxels.items()},
        "tokens": normal(n, sizes.n_tokens, sizes.n_features),
        "token_targets": normal(n, sizes.n_tokens, sizes.n_features),
        "temperature": losses.soft_temperatures[0],
    }
    lowlevel = sizes.lowlevel
    if lowlevel is not None:
        batch["latents"] = normal(n, *lowlevel.latent_shape)
        if losses.maps:
            for name in ("maps", "maps_augmented"):
                batch[name] = normal(n, lowlevel.size**2, lowlevel.n_maps)
    if losses.prior:
        kept = torch.ones(n, dtype=torch.bool)
        batch["prior"] = {
            "times": torch.randint(0, sizes.prior.n_levels, (n,), generator=generator),
            "noise": torch.randn(n, sizes.n_tokens, sizes.n_features, generator=generator),
            "keep_condition": kept,
            "keep_target": kept,
        }
    return batch
