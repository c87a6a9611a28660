"""Saved state of a training as safetensors: weights, optimiser moments and running averages."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate.utils import gather_object
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mindeye2.core.artifacts import write_json
from mindeye2.core.errors import ArtifactError
from mindeye2.training.distributed import run_on_rank0

__all__ = ["TrainingState"]


class TrainingState:
    """Weights, optimiser's moments and running averages of one training.

    With several processes rank 0 saves and all load.

    Parameters
    ----------
    folder
        Run folder; the state is kept in its ``state/``.
    trainable
        Parameters by name.
    optimizer
        Holds the moments of all of them.
    ema
        Keep a running average of the weights.
    """

    def __init__(
        self,
        folder: Path,
        trainable: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        *,
        ema: bool,
    ) -> None:
        self.folder = folder / "state"
        self.trainable = trainable
        self.optimizer = optimizer
        self.ema = {n: p.detach().clone() for n, p in trainable.items()} if ema else {}

    def load(self) -> int:
        """Restore the saved state.

        Returns
        -------
        int
            The next step, 0 where nothing was saved.

        Raises
        ------
        ArtifactError
            If the state is of another model, or not all processes read it.
        """
        run_on_rank0(self._recover)
        starts: list[int] = gather_object([self._load()])
        if len(set(starts)) > 1:
            raise ArtifactError(
                f"the processes would start at the steps {starts}, because not all of them read "
                f"the state in {self.folder}. Give an --out on a file system that all machines "
                "read."
            )
        return starts[0]

    def _recover(self) -> None:
        spare = self.folder.with_name("state.old")
        if spare.exists() and not self.folder.exists():  # killed between the two renames
            spare.rename(self.folder)

    def _load(self) -> int:
        if not self.folder.exists():
            return 0
        step: int = json.loads((self.folder / "progress.json").read_text())["step"]
        tensors = load_file(self.folder / "state.safetensors")
        names = {key.partition("/")[2] for key in tensors if key.startswith("weight/")}
        if names != set(self.trainable):
            other = sorted(names ^ set(self.trainable))[:3]
            raise ArtifactError(
                f"the saved state in {self.folder} is of another model: {other} differ. "
                "Resume with the settings of the first run, or give another --out."
            )
        with torch.no_grad():
            for name, parameter in self.trainable.items():
                parameter.copy_(tensors[f"weight/{name}"])
                self.optimizer.state[parameter] = {
                    "step": torch.tensor(float(step), device=parameter.device),
                    "exp_avg": tensors[f"mean/{name}"].to(parameter.device),
                    "exp_avg_sq": tensors[f"square/{name}"].to(parameter.device),
                }
                if self.ema:
                    self.ema[name].copy_(tensors[f"average/{name}"])
        return step

    def save(self, step: int) -> None:
        """Write the state beside the old one, then swap them, so that one is always whole.

        Parameters
        ----------
        step
            The next step.

        Raises
        ------
        ArtifactError
            If it cannot be written; the state before it is kept.
        """
        fresh, spare = self.folder.with_name("state.new"), self.folder.with_name("state.old")
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.trainable.items():
            moments = self.optimizer.state[parameter]
            tensors[f"weight/{name}"] = parameter.detach().cpu().contiguous()
            tensors[f"mean/{name}"] = moments["exp_avg"].cpu().contiguous()
            tensors[f"square/{name}"] = moments["exp_avg_sq"].cpu().contiguous()
            if self.ema:
                tensors[f"average/{name}"] = self.ema[name].cpu().contiguous()
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            save_file(tensors, fresh / "state.safetensors")
            write_json(fresh / "progress.json", {"step": step})
        except Exception as error:  # safetensors has an error type of its own for a full disk
            shutil.rmtree(fresh, ignore_errors=True)
            size = sum(t.numel() * t.element_size() for t in tensors.values()) / 2**20
            raise ArtifactError(
                f"the state after step {step} could not be written to {self.folder} ({error}); it "
                f"needs {size:.0f} MiB. The state saved before it is untouched: free disk space "
                "and run the same command with --resume."
            ) from error
        shutil.rmtree(spare, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(spare)
        fresh.rename(self.folder)
        shutil.rmtree(spare, ignore_errors=True)

    def average(self, decay: float, step: int) -> None:
        """Move the running average towards the weights; faster in the first steps.

        Parameters
        ----------
        decay
            Weight of the old average.
        step
            The step that was taken.
        """
        if self.ema:
            weight = 1 - min(decay, (1 + step) / (10 + step))
            averages = list(self.ema.values())
            torch._foreach_lerp_(averages, [p.detach() for p in self.trainable.values()], weight)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averaged weights in place for a block.

        Yields
        ------
        None
            Inside the block the weights are their averages.
        """
        if not self.ema:
            yield
            return
        current = {n: p.detach().clone() for n, p in self.trainable.items()}
        self.keep_average()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self.trainable.items():
                    parameter.copy_(current[name])

    @torch.no_grad()
    def keep_average(self) -> None:
        """Replace the weights by their average, where one is kept."""
        for name, average in self.ema.items():
            self.trainable[name].copy_(average)
