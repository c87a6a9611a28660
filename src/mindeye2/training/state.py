"""Saved state of a training: weights, optimiser moments and running averages, by any sharding.

A state is a folder of `torch.distributed.checkpoint`, named by its step. All ranks write it in a
background thread while training goes on; its file ``.metadata`` is written last and seals it, and
only then is the state before it removed. PyTorch reads ``.metadata`` with pickle: resume only
runs that you trust.
"""

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from torch import Tensor, distributed, nn

from mindeye2.core.artifacts import write_json
from mindeye2.core.errors import ArtifactError
from mindeye2.training.distributed import current_shard, run_on_rank0
from mindeye2.training.sharding import allocate, is_sharded, whole_tensor

__all__ = ["TrainingState"]

_SEAL = ".metadata"


class TrainingState:
    """Weights, optimiser's moments and running averages of one training.

    Parameters
    ----------
    folder
        Run folder; the state is kept in its ``state/``.
    given
        Module that gets the weights for validation and at the end.
    trainable
        Parameters by name: those of `given`, or their shards.
    optimizer
        AdamW of all of them.
    ema
        Keep a running average of the weights.
    scaler
        Scales the loss.
    """

    def __init__(
        self,
        folder: Path,
        given: nn.Module,
        *,
        trainable: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        ema: bool,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.folder = folder / "state"
        self.given = given
        self.trainable = trainable
        self.optimizer = optimizer
        self.scaler = scaler
        self.ema = {n: p.detach().clone() for n, p in trainable.items()} if ema else {}
        self._full = {n: p for n, p in given.named_parameters() if n in trainable}
        self._sharded = any(map(is_sharded, trainable.values()))
        several = current_shard().world_size > 1
        # A group of its own, so that saving in the background does not disturb the steps.
        self._dcp: dict[str, Any] = {"no_dist": not several}
        if several:
            self._dcp["process_group"] = distributed.new_group(backend="gloo")
        self._saving: tuple[Path, Future[Any]] | None = None
        for parameter in trainable.values():
            if not optimizer.state[parameter]:
                optimizer.state[parameter] = {
                    "step": torch.zeros((), device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter.detach()),
                    "exp_avg_sq": torch.zeros_like(parameter.detach()),
                }

    def load(self) -> int:
        """Restore the last whole state.

        Returns
        -------
        int
            The next step, 0 where nothing was saved.

        Raises
        ------
        ArtifactError
            If the state is damaged or of another model, or not all processes read it.
        """
        run_on_rank0(self._remove_unsealed)
        last = max(self._sealed(), default=None)
        starts: list[int] = gather_object([int(last.name) if last else 0])
        if len(set(starts)) > 1:
            raise ArtifactError(
                f"the processes would start at the steps {starts}, because not all of them read "
                f"the state in {self.folder}. Give an --out on a file system that all machines "
                "read."
            )
        if last is not None:
            self._load(last)
        return starts[0]

    def _sealed(self) -> list[Path]:
        return [path.parent for path in self.folder.glob(f"*/{_SEAL}")]

    def _remove_unsealed(self) -> None:
        if (self.folder / "state.safetensors").exists():
            raise ArtifactError(
                f"the state in {self.folder} was saved by an earlier version. Give another --out."
            )
        for path in {*self.folder.glob("*")} - {*self._sealed()}:
            shutil.rmtree(path)

    def _load(self, path: Path) -> None:
        from torch.distributed.checkpoint.api import CheckpointException
        from torch.distributed.checkpoint.filesystem import FileSystemReader
        from torch.distributed.checkpoint.state_dict_loader import load

        tensors = self._tensors()
        try:
            saved = FileSystemReader(path).read_metadata().state_dict_metadata
            shapes = {name: getattr(value, "size", None) for name, value in saved.items()}
        except Exception as error:
            raise self._damaged(path, error) from error
        wanted = {name: value.shape for name, value in tensors.items()}
        if shapes != wanted:
            names = {n for n in {*shapes, *wanted} if shapes.get(n) != wanted.get(n)}
            other = sorted(name.partition("/")[2] or name for name in names)[:3]
            raise ArtifactError(
                f"the saved state in {self.folder} is of another model: {other} differ. "
                "Resume with the settings of the first run, or give another --out."
            )
        try:
            _ignore_being_alone()
            load(tensors, checkpoint_id=path, **self._dcp)
        except (Exception, CheckpointException) as error:  # the latter is no Exception
            raise self._damaged(path, error) from error
        self._restore_scalars(tensors)

    def _damaged(self, path: Path, error: BaseException) -> ArtifactError:
        facts = path / "progress.json"
        saved_by = json.loads(facts.read_text())["torch"] if facts.exists() else "unknown"
        return ArtifactError(
            f"the saved state in {path} cannot be read ({_reason(error)}): it is damaged, or of "
            f"another version of torch (saved by {saved_by}, this is {torch.__version__}). Resume "
            "with that version, or remove the folder to take these steps again."
        )

    def _tensors(self) -> dict[str, Tensor]:
        """Return all that is saved, by name; loading fills the same tensors."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.trainable.items():
            moments = self.optimizer.state[parameter]
            tensors[f"weight/{name}"] = parameter.detach()
            tensors[f"mean/{name}"] = moments["exp_avg"]
            tensors[f"square/{name}"] = moments["exp_avg_sq"]
            # A parameter that no gradient reached has taken fewer steps.
            tensors[f"steps/{name}"] = moments["step"]
            if self.ema:
                tensors[f"average/{name}"] = self.ema[name]
        if self.scaler is not None and self.scaler.is_enabled():
            scale = self.scaler.state_dict()
            values = [scale["scale"], scale["_growth_tracker"]]
            tensors["scaler"] = torch.tensor(values, dtype=torch.float64)
        return tensors

    def _restore_scalars(self, tensors: Mapping[str, Tensor]) -> None:
        if self.scaler is not None and "scaler" in tensors:
            scale, growth = tensors["scaler"].tolist()
            self.scaler.load_state_dict(
                {**self.scaler.state_dict(), "scale": scale, "_growth_tracker": int(growth)}
            )

    def _own(self) -> dict[str, Tensor]:
        """Return what this rank writes: its shards, and its part of what all ranks hold."""
        tensors, shard = self._tensors(), current_shard()
        whole = {name: t for name, t in tensors.items() if not is_sharded(t)}
        sizes = [0] * shard.world_size
        # The next largest one to the rank that has least: the same on all ranks.
        for name in sorted(whole, key=lambda name: (-whole[name].numel(), name)):
            rank = sizes.index(min(sizes))
            sizes[rank] += whole[name].numel()
            if rank != shard.rank:
                del tensors[name]
        return tensors

    @property
    def n_bytes(self) -> int:
        """Bytes of a saved state, of all ranks together."""
        return sum(t.numel() * t.element_size() for t in self._tensors().values())

    def check_space(self, step: int) -> None:
        """Refuse to go on where the disk has no space for the next state."""
        free = shutil.disk_usage(self.folder.parent).free
        if free < self.n_bytes:
            raise ArtifactError(
                f"stopped before step {step}, because the next state needs "
                f"{_size(self.n_bytes)} in {self.folder}, where {_size(free)} are free (the "
                "state before it is kept until the next is whole). Free disk space and run the "
                "same command with --resume."
            )

    def save(self, step: int) -> None:
        """Copy the state and begin to write it; training may go on.

        Parameters
        ----------
        step
            The next step.

        Raises
        ------
        ArtifactError
            If the state before it could not be written.
        """
        from torch.distributed.checkpoint.filesystem import FileSystemWriter
        from torch.distributed.checkpoint.state_dict_saver import async_save

        self.wait()
        path = self.folder / f"{step:08d}"
        run_on_rank0(lambda: _prepare(path))
        _ignore_being_alone()
        # What is written is on the CPU already: there is nothing to copy ahead.
        writer = FileSystemWriter(path, per_thread_copy_ahead=0)
        future = async_save(self._own(), storage_writer=writer, **self._dcp)
        self._saving = path, cast("Future[Any]", future)

    def poll(self) -> None:
        """Remove the state before the last one, once that is whole."""
        if self._saving is not None and self._saving[1].done():
            self.wait()

    def wait(self) -> None:
        """Wait until the state is whole.

        Raises
        ------
        ArtifactError
            If it cannot be written; the state before it is kept.
        """
        if self._saving is None:
            return
        from torch.distributed.checkpoint.api import CheckpointException

        (path, future), self._saving = self._saving, None
        try:
            future.result()
        except (Exception, CheckpointException) as error:
            raise ArtifactError(
                f"the state after step {int(path.name)} could not be written to {self.folder} "
                f"({_reason(error)}); it needs {_size(self.n_bytes)}. The state saved before it "
                "is untouched: free disk space and run the same command with --resume."
            ) from error
        if current_shard().rank == 0:
            for other in {*self._sealed()} - {path}:
                # Unsealed first: a state that is removed by half is not read.
                (other / _SEAL).unlink()
                shutil.rmtree(other)

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
            averages = [_local(average) for average in self.ema.values()]
            weights = [_local(p.detach()) for p in self.trainable.values()]
            torch._foreach_lerp_(averages, weights, weight)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averaged weights, or all shards of the weights, into `given` for a block.

        Yields
        ------
        None
            Inside the block `given` has them on the first rank.
        """
        if not (self.ema or self._sharded):
            yield
            return
        if self._sharded and current_shard().rank:
            self._gather()
            yield
            return
        current = {} if self._sharded else {n: p.detach().clone() for n, p in self._full.items()}
        device = next(iter(self.trainable.values())).device
        before = next(iter(self._full.values())).device
        self.given.to(device)
        self._gather()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in current.items():
                    self._full[name].copy_(value)
            self.given.to(before)

    def keep(self) -> None:
        """Put the averages where they are kept, else the weights, into `given` on all ranks."""
        if self._sharded:
            allocate(self.given, torch.device("cpu"))
            self._full = {n: p for n, p in self.given.named_parameters() if n in self.trainable}
        self._gather()

    @torch.no_grad()
    def _gather(self) -> None:
        """Gather what is kept of each weight, and put it where `given` has memory."""
        for name, value in (self.ema or self.trainable).items():
            own = self._full[name]
            if value is not own:
                whole = whole_tensor(value)
                if not own.is_meta:
                    own.copy_(whole)


def _reason(error: BaseException) -> str:
    """Return the last line of an error: PyTorch's begin with the traces of all ranks."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()


def _local(value: Tensor) -> Tensor:
    return value.to_local() if is_sharded(value) else value


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.0f} MiB"


def _prepare(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    write_json(path / "progress.json", {"step": int(path.name), "torch": torch.__version__})


def _ignore_being_alone() -> None:
    """Silence PyTorch's warning that a single process saves alone, in all threads."""
    message = r"torch\.distributed is disabled, unavailable or uninitialized"
    warnings.filterwarnings("ignore", message=message)
