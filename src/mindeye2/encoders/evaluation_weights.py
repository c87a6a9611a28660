"""Weights of evaluation networks: in a folder, in a cache, or fetched after an announcement."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mindeye2.core.errors import require

__all__ = ["HUB_MODELS", "Download", "HubModel", "find_wordnet"]


@dataclass(frozen=True)
class Download:
    """A file of weights at its publisher's address."""

    url: str
    """The publisher's file."""
    megabytes: int
    """Its size, roughly."""
    sha256: str
    """As far as the publisher states it; the first digits are in torchvision's file names, and
    are compared after the download."""
    licence: str
    """Of the weights."""

    @property
    def name(self) -> str:
        """Name of the file."""
        return Path(self.url).name

    @property
    def terms(self) -> str:
        """Address, size, hash and licence in a phrase."""
        return (
            f"{self.url} (about {self.megabytes} MB, SHA-256 {self.sha256}, "
            f"licence {self.licence})"
        )

    def find(self, folder: Path | None) -> Path | None:
        """Find the file in a folder or in PyTorch's cache."""
        cache = Path(torch.hub.get_dir()) / "checkpoints"
        folders = [cache] if folder is None else [Path(folder), cache]
        return next((p / self.name for p in folders if (p / self.name).is_file()), None)

    def fetch(self) -> Path:
        """Announce and download the file into PyTorch's cache."""
        sys.stderr.write(f"Downloading once: {self.terms}.\n")
        path = Path(torch.hub.get_dir()) / "checkpoints" / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        known = self.sha256.removesuffix("...")
        stated = known if set(known) <= set("0123456789abcdef") else None
        torch.hub.download_url_to_file(self.url, str(path), hash_prefix=stated)
        return path


@dataclass(frozen=True)
class HubModel:
    """A model on the Hugging Face hub."""

    hub: str
    """Its repository."""
    megabytes: int
    """Size of what is fetched, roughly."""
    licence: str
    """Of the weights."""

    @property
    def name(self) -> str:
        """Name of its folder among other evaluation networks."""
        return self.hub.rpartition("/")[2]

    @property
    def terms(self) -> str:
        """Address, size and licence in a phrase."""
        return (
            f"https://huggingface.co/{self.hub} (about {self.megabytes} MB, "
            f"licence {self.licence})"
        )

    def find(self, folder: Path | None) -> str | None:
        """Find the model in a folder, or its name where the hub's cache has it."""
        if folder is not None and (Path(folder) / self.name).is_dir():
            return str(Path(folder) / self.name)
        hub = require("huggingface_hub", extra="evaluation", purpose=f"The network {self.name}")
        # Without its weights, an interrupted download would look complete.
        files = ("model.safetensors", "pytorch_model.bin")
        cached = any(isinstance(hub.try_to_load_from_cache(self.hub, f), str) for f in files)
        return self.hub if cached else None

    def fetch(self) -> str:
        """Announce the download that loading the returned name begins."""
        sys.stderr.write(f"Downloading once: {self.terms}.\n")
        return self.hub


HUB_MODELS: dict[str, HubModel] = {
    "sentence": HubModel("sentence-transformers/all-MiniLM-L6-v2", 91, "Apache-2.0"),
    "clip_b": HubModel("openai/clip-vit-base-patch32", 605, "MIT"),
    "clip_l": HubModel("openai/clip-vit-large-patch14", 1710, "MIT"),
    "git": HubModel("microsoft/git-large-coco", 1580, "MIT"),
}
"""Networks of the published caption scores by the name of their score."""


def find_wordnet(folder: Path | None, *, download: bool) -> Any:  # noqa: ANN401 - nltk's reader
    """Open WordNet from a folder or from those of nltk; None where neither has it.

    `folder` may hold ``corpora/wordnet`` or its ``.zip``; `download` gets WordNet 3.0 where it is
    missing. Raises ``MissingExtraError`` if nltk is not installed.
    """
    nltk = require("nltk", extra="evaluation", purpose="METEOR")
    if folder is not None and str(folder) not in nltk.data.path:
        nltk.data.path.insert(0, str(folder))  # nltk reads below its own list of folders only
    if not _has_wordnet(nltk):
        if not download:
            return None
        sys.stderr.write("Downloading once: WordNet 3.0 (11 MB, WordNet licence) by nltk.\n")
        nltk.download("wordnet", download_dir=None if folder is None else str(folder))
    return require("nltk.corpus", extra="evaluation", purpose="METEOR").wordnet


def _has_wordnet(nltk: Any) -> bool:  # noqa: ANN401 - an optional package
    for name in ("corpora/wordnet", "corpora/wordnet.zip"):
        try:
            nltk.data.find(name)
        except LookupError:
            continue
        return True
    return False
