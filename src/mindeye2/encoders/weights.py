"""Imported weights of frozen networks, as ``mindeye2 import`` writes them."""

import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError

__all__ = ["WeightsFile", "is_imported"]


def is_imported(path: Path) -> bool:
    """Check whether ``mindeye2 import`` wrote a folder, finished or not, or a weights file."""
    path = Path(path)
    if path.is_dir():
        return any((path / name).exists() for name in ("manifest.json", "config.yaml"))
    if path.suffix != ".safetensors" or not path.exists():
        return False
    try:
        with safe_open(path, framework="pt") as stored:
            return "kind" in (stored.metadata() or {})
    except SafetensorError:
        return False


class WeightsFile:
    """One imported file of weights, read on request.

    Parameters
    ----------
    path
        The folder that was imported into, or the safetensors file itself.
    kind
        Required kind of weights, e.g. ``"convnext_teacher"``; the file of that name in a folder.

    Attributes
    ----------
    path
        The file.
    key
        Identifies the weights.

    Raises
    ------
    ArtifactError
        If the folder was not imported, or holds no such file.
    """

    def __init__(self, path: Path, *, kind: str) -> None:
        path = Path(path)
        if path.is_dir():
            manifest = read_manifest(path, stage="import")
            name = f"{kind}.safetensors"
            if name not in manifest["files"]:
                held = sorted(n for n in manifest["files"] if n.endswith(".safetensors"))
                raise ArtifactError(f"{path} holds {held}, but {name} is needed here.")
            path = path / name
        if not path.exists():
            raise ArtifactError(
                f"{path} does not exist. Import the published file with 'mindeye2 import'."
            )
        self.path = path
        try:
            with safe_open(path, framework="pt") as stored:
                facts = stored.metadata() or {}
                self._names = list(stored.keys())
        except SafetensorError as error:
            raise ArtifactError(
                f"{path} is not a safetensors file ({error}). Give what 'mindeye2 import' wrote."
            ) from error
        if facts.get("kind", kind) != kind:
            raise ArtifactError(f"{path} holds {facts['kind']!r}, but {kind!r} is needed here.")
        digest = hashlib.sha256(f"{facts}{path.stat().st_size}".encode())
        self.key = facts.get("source_sha256", digest.hexdigest())[:16]

    def read(self) -> dict[str, Tensor]:
        """Return all tensors by name, memory-mapped."""
        with safe_open(self.path, framework="pt") as stored:
            return {name: stored.get_tensor(name) for name in self._names}

    def fill(self, network: nn.Module) -> None:
        """Load the weights into a network that was built on the meta device."""
        values = self.read()
        wanted = network.state_dict()
        differ = sorted(set(wanted) ^ set(values)) + sorted(
            n for n in set(wanted) & set(values) if wanted[n].shape != values[n].shape
        )
        if differ:
            raise ArtifactError(f"{self.path} does not fit the network: {differ[:8]} differ.")
        network.load_state_dict(values, assign=True)
