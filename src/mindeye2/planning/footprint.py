"""Memory and arithmetic of one training step, measured without allocating anything.

The step runs on fake tensors: shapes and lifetimes without values. `MemTracker` belongs to
PyTorch's private modules, so that this is the only file that imports it. Not `FSDPMemTracker`,
which counts optimiser states several times over under fake tensors.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker, _MemRefType
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mindeye2.planning.sample_step import StepSettings, random_batch
from mindeye2.training.brain_step import BrainStep
from mindeye2.training.sharding import gathered_alone
from mindeye2.training.trainer import DTYPES, Trainer

__all__ = ["Footprint", "footprint"]


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes and arithmetic of one step on one device."""

    parameters: dict[str, int]
    """Number of parameters of each part of the model."""

    trainable: int
    """Number of parameters that are trained."""

    weights: int
    """Bytes of all weights."""

    gradients: int
    """Bytes of all gradients."""

    moments: int
    """Bytes of the optimiser's moments."""

    activations: int
    """Bytes of what the step holds besides, when it needs most."""

    peak: int
    """Most bytes at any moment; not all gradients exist while all activations do."""

    held: int
    """Of the peak, bytes of gradients and activations."""

    largest_layer: int
    """Number of parameters of the largest single layer."""

    flops: float
    """Floating-point operations of the step's rows, with what is computed twice."""


@contextmanager
def _gpu_attention() -> Iterator[None]:
    """Take attention by the kernel that a GPU takes where the bias is learned, on the CPU too."""
    chosen = F.scaled_dot_product_attention

    def attend(
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        *,
        attn_mask: Tensor | None = None,
        scale: float | None = None,
    ) -> Tensor:
        if attn_mask is None:
            return chosen(queries, keys, values, scale=scale)
        # The kernel wants rows of the bias aligned to 16 bytes, as PyTorch pads them.
        n_keys = keys.shape[-2]
        bias = F.pad(attn_mask, (0, -n_keys % 8))[..., :n_keys]
        bias = bias.expand(*queries.shape[:2], *bias.shape)
        out: Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(
            queries, keys, values, bias, compute_log_sumexp=True, scale=scale
        )[0]
        return out

    # Not a mode of PyTorch: such are not in force where checkpointing computes a block again.
    with patch.object(F, "scaled_dot_product_attention", attend):
        yield


class _Tracker(MemTracker):
    """Memory by kind, without the statistics of modules, which a module may be called once for."""

    def count_gradient(self, parameter: Tensor) -> None:
        """Count a parameter's gradient as one."""
        assert parameter.grad is not None
        self._update_and_maybe_create_winfos(parameter.grad, _MemRefType.GRAD)

    def count_and_drop_gradient(self, parameter: Tensor) -> None:
        """Count a gradient of which only a shard is kept."""
        self.count_gradient(parameter)
        parameter.grad = None

    def _pre_fw_hook(self, module: nn.Module, inputs: Any) -> None:  # noqa: ANN401
        pass

    def _post_fw_hook(self, module: nn.Module, inputs: Any, outputs: Any) -> None:  # noqa: ANN401
        pass

    def _pre_bw_hook(self, module: nn.Module, args: Any) -> None:  # noqa: ANN401
        pass

    def _post_bw_hook(self, module: nn.Module, args: Any) -> None:  # noqa: ANN401
        pass


def footprint(
    settings: StepSettings, *, n_ranks: int = 1, sharded: bool = False, gpu: bool = True
) -> Footprint:
    """Measure a step on one device.

    Parameters
    ----------
    settings
        Model, losses, optimiser, and trials of a step of all ranks together.
    n_ranks
        Number of ranks; what they exchange is not counted.
    sharded
        Count no gradient beyond the moment in which it is computed, and no conversion of layers
        that are gathered in half precision; what is gathered is not counted.
    gpu
        Take the attention kernel of GPUs; off, the CPU's.

    Returns
    -------
    Footprint
        Of a step when the optimiser's moments exist.
    """
    cpu = torch.device("cpu")
    # Fake weights cannot be moved, and are there already.
    with FakeTensorMode(), patch.object(nn.Module, "to", lambda module, *_, **__: module):
        model = settings.build()
        step = BrainStep(model, settings.losses)
        dtype = DTYPES[settings.optimizer.precision]
        for layer in gathered_alone(step) if sharded and dtype else []:
            trained = layer.weight.requires_grad
            layer.weight = nn.Parameter(layer.weight.detach().to(dtype), requires_grad=trained)
        trainer = Trainer(step, settings.optimizer, device=cpu, seed=0, label="plan")
        for parameter in trainer.trainable.values():
            trainer.optimizer.state[parameter] = {
                "step": torch.tensor(0.0),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        rows = settings.per_subject // n_ranks
        batch = random_batch(settings, per_subject=rows, device=cpu)
        tracker, counter = _Tracker(), FlopCounterMode(display=False)
        tracker.track_external(step, trainer.optimizer)
        count = tracker.count_and_drop_gradient if sharded else tracker.count_gradient
        for parameter in trainer.trainable.values():
            parameter.register_post_accumulate_grad_hook(count)
        # The counter takes operations apart: the tracker must see them before that.
        with counter, tracker, _gpu_attention() if gpu else nullcontext():
            trainer.compute_gradients(batch, 0)
            trainer.optimizer.step()
        peak = tracker.get_tracker_snapshot("peak")[cpu]
    sizes = {str(kind).rpartition(".")[2]: n for kind, n in peak.items()}
    parts = {
        name: sum(p.numel() for p in module.parameters())
        for name, module in model.named_children()
    }
    n_trainable = sum(p.numel() for p in trainer.trainable.values())
    weights, moments = list(step.parameters()), trainer.optimizer.state.values()
    resting = sum(t.nbytes for t in [*weights, *(t for own in moments for t in own.values())])
    layers = (sum(p.numel() for p in m.parameters(recurse=False)) for m in model.modules())
    return Footprint(
        parameters=parts,
        trainable=n_trainable,
        weights=4 * sum(parts.values()),
        gradients=4 * n_trainable,
        moments=8 * n_trainable,
        activations=sizes["ACT"] + sizes["TEMP"] + sizes["OTH"],
        peak=sizes["Total"],
        held=sizes["Total"] - resting,
        largest_layer=max(layers),
        flops=float(counter.get_total_flops()),
    )
