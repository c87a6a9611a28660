"""What reconstruction is made of: a brain model, and what draws, describes and refines."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared import Prepared
from mindeye2.encoders.tokens import Lite0Tokens
from mindeye2.generation.decoders import load_unclip_decoder
from mindeye2.generation.unclip import Unclip
from mindeye2.models.checkpoint import load_run
from mindeye2.models.decoder import MindEye
from mindeye2.models.expectation import load_expectation
from mindeye2.models.memory import Memory, load_memory

__all__ = ["LatentDecoder", "Parts", "PictureDecoder", "RunParts", "check_fit"]


@runtime_checkable
class PictureDecoder(Protocol):
    """Draws pictures from image tokens."""

    def decode(
        self, tokens: Float[Tensor, "batch tokens features"], *, seeds: Sequence[int]
    ) -> Float[Tensor, "batch rgb height width"]:
        """Draw one picture per row, RGB in [0, 1]; a seed each."""
        ...


@runtime_checkable
class LatentDecoder(Protocol):
    """Turns the low-level head's latents into pictures."""

    def decode(
        self, latents: Float[Tensor, "batch channels _ _"]
    ) -> Float[Tensor, "batch rgb height width"]:
        """Return RGB in [0, 1]."""
        ...


@runtime_checkable
class Captioner(Protocol):
    """Describes image tokens."""

    def __call__(self, tokens: Float[Tensor, "batch tokens features"], /) -> list[str]:
        """Return one caption per row."""
        ...


@runtime_checkable
class Refinement(Protocol):
    """Draws pictures again, led by captions."""

    def __call__(
        self,
        pictures: Float[Tensor, "batch rgb _ _"],
        captions: Sequence[str],
        *,
        seeds: Sequence[int],
    ) -> Float[Tensor, "batch rgb height width"]:
        """Return RGB in [0, 1]."""
        ...


class Parts(ABC):
    """Everything that reconstruction uses; what is not used need not be loaded.

    An abstract class and no Protocol, because asking a Protocol whether an object fits it loads
    every part.

    Attributes
    ----------
    origin
        Where it comes from, for messages.
    encoder
        Name of the encoder whose tokens the model predicts.
    images_hash
        Hash of the pictures of its training data, where it remembers their rows.
    """

    origin: str
    encoder: str
    images_hash: str | None = None

    @property
    @abstractmethod
    def model(self) -> MindEye:
        """The brain model, in eval mode."""

    @property
    @abstractmethod
    def pictures(self) -> PictureDecoder:
        """What draws."""

    @property
    @abstractmethod
    def lowlevel(self) -> LatentDecoder:
        """What decodes low-level latents; asked for only where the model predicts some."""

    @property
    def captioner(self) -> Captioner | None:
        """What writes; None where captions are lent by training images."""
        return None

    @property
    def refiner(self) -> Refinement | None:
        """What refines, or None."""
        return None

    @abstractmethod
    def remedy(self, subject: str) -> str:
        """Say what to do for a subject that it does not know."""

    @abstractmethod
    def encode(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Return the tokens of pictures, RGB in [0, 1]."""

    def memory(self, subject: str) -> Memory | None:  # noqa: ARG002 - none for anybody
        """Return what was kept of the training images, or None."""
        return None

    def expect(
        self, tokens: Float[Tensor, "images tokens features"]
    ) -> Float[Tensor, "images tokens features"]:
        """Return what brains make of these tokens; the tokens themselves if that is unknown."""
        return tokens


class RunParts(Parts):
    """The parts of a run that ``mindeye2 train`` finished, and of a small image decoder.

    Parameters
    ----------
    folder
        Run folder of the brain model.
    decoder
        Run folder of the image decoder; the shipped one by default.
    device
        Where to compute.
    """

    def __init__(self, folder: Path, *, decoder: Path | None, device: torch.device) -> None:
        self._folder = Path(folder)
        self._decoder = decoder
        self._device = device
        self._run = load_run(self._folder)
        self._model = self._run.model.to(device)
        self.encoder = self._run.encoder
        self.origin = f"the run {folder}"
        found = self._run.manifest.get("images")
        self.images_hash = None if found is None else str(found)
        self._expectation = load_expectation(self._folder)

    @property
    def model(self) -> MindEye:
        """The brain model."""
        return self._model

    def remedy(self, subject: str) -> str:
        """Say what to do for a subject that the run does not know.

        Parameters
        ----------
        subject
            Whose.

        Returns
        -------
        str
            A sentence with the command.
        """
        recipe = f"mindeye2 train --recipe adapt --init {self._folder} --set subject={subject}"
        return f"Choose one that it knows with --set subject=..., or adapt it: {recipe}"

    @cached_property
    def pictures(self) -> Unclip:
        """What draws."""
        return load_unclip_decoder(self._decoder).to(self._device)

    @property
    def lowlevel(self) -> LatentDecoder:
        """The image decoder's autoencoder."""
        return self.pictures.autoencoder

    def memory(self, subject: str) -> Memory:
        """Return what the run kept of the training images.

        Parameters
        ----------
        subject
            Whose.

        Returns
        -------
        Memory
            Predicted and true tokens.
        """
        return load_memory(self._folder, subject)

    def expect(
        self, tokens: Float[Tensor, "images tokens features"]
    ) -> Float[Tensor, "images tokens features"]:
        """Return what brains make of these tokens, as the people of pretraining taught.

        Parameters
        ----------
        tokens
            True tokens.

        Returns
        -------
        Tensor
            Expected predictions, or the tokens themselves where nobody taught.
        """
        return tokens if self._expectation is None else self._expectation(tokens)

    @cached_property
    def _encoder(self) -> Lite0Tokens:
        return Lite0Tokens()

    def encode(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Return the tokens of pictures.

        Parameters
        ----------
        images
            RGB in [0, 1].

        Returns
        -------
        Tensor
            On the CPU.
        """
        tokens: Tensor = self._encoder(images)
        return tokens


def check_fit(prepared: Prepared, parts: Parts, subject: str) -> None:
    """Refuse a model and a data set that do not fit each other.

    Parameters
    ----------
    prepared
        The data set.
    parts
        The model.
    subject
        Whose brain.

    Raises
    ------
    ArtifactError
        If the subject, its voxels or the pictures are not the model's.
    """
    known = parts.model.ridge.n_voxels
    if subject not in known:
        raise ArtifactError(
            f"{parts.origin} knows {sorted(known)}, not {subject!r}. {parts.remedy(subject)}"
        )
    if subject not in prepared.n_voxels:
        raise ArtifactError(
            f"the data set {prepared.folder} has {prepared.subjects}, not {subject!r}."
        )
    if known[subject] != prepared.n_voxels[subject]:
        raise ArtifactError(
            f"{parts.origin} was trained on {known[subject]} voxels of {subject}, the data set "
            f"{prepared.folder} has {prepared.n_voxels[subject]}. It is a run of another data set."
        )
    # A run remembers its training images by their rows.
    if parts.images_hash not in (None, prepared.images_hash):
        raise ArtifactError(
            f"{parts.origin} was trained on other pictures than those of {prepared.folder}. It is "
            "a run of another data set: give the one that it was trained on with --source."
        )
