"""Low-rank adapters (LoRA) of backbone and prior, merged into the weights when they are trained.

Hu et al. 2021, "LoRA", arXiv:2106.09685, by the library ``peft``.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Annotated

from pydantic import Field
from torch import nn

from mindeye2.core.errors import require
from mindeye2.core.runtime import process_rng
from mindeye2.models.decoder import MindEye
from mindeye2.training.optimizer import OptimizerSettings

__all__ = ["LoraTraining", "add_adapters", "require_peft"]


class LoraTraining(OptimizerSettings):
    """Training of low-rank adapters on the linear layers of backbone and prior."""

    steps: Annotated[int, Field(ge=1)] = 120
    """Optimiser steps in all."""

    max_lr: Annotated[float, Field(gt=0)] = 3e-4
    """Peak learning rate."""

    rank: Annotated[int, Field(ge=1)] = 8
    """Rank of the change of each weight matrix; layers not wider than this stay as they are."""

    alpha: Annotated[float, Field(gt=0)] = 16.0
    """The change is the product of the adapter's two matrices, times `alpha` over `rank`."""


def require_peft() -> ModuleType:
    """Import peft, or raise an error with the command that installs it."""
    return require("peft", extra="lora", purpose="The adaptation level 'lora'")


def add_adapters(model: MindEye, settings: LoraTraining, *, seed: int) -> Callable[[], object]:
    """Freeze a model and add adapters, which start at no change; return what merges them."""
    peft = require_peft()
    names = [
        name
        for name, layer in model.named_modules()
        if name.startswith(("backbone.", "prior."))
        and isinstance(layer, nn.Linear)
        and min(layer.weight.shape) > settings.rank
    ]
    if not names:
        raise ValueError(
            f"lora.rank={settings.rank} is not below the width of any linear layer of backbone "
            "and prior: set a smaller one, such as 8."
        )
    config = peft.LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, target_modules=names, lora_dropout=0.0
    )
    with process_rng(seed, "lora"):
        adapted = peft.LoraModel(model, config, "lora")
    merge: Callable[[], object] = adapted.merge_and_unload
    return merge
