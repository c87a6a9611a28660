"""The networks of reconstruction: brain decoder, image decoder, captioner, refiner."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared import Prepared
from mindeye2.encoders.bank import ImageEncoder
from mindeye2.encoders.registry import load_encoder
from mindeye2.generation.decoders import load_unclip_decoder
from mindeye2.generation.unclip import Unclip
from mindeye2.models.checkpoint import load_run
from mindeye2.models.decoder import MindEye
from mindeye2.models.forward_model import load_forward_model
from mindeye2.models.training_bank import TrainingBank, load_training_bank
from mindeye2.stages.reconstruct.settings import ReconstructSettings

__all__ = ["Pipeline", "RunPipeline", "check_fit"]


@runtime_checkable
class Pipeline(Protocol):
    """A brain decoder and the networks that turn its tokens into images and captions.

    Implementations load a network when it is first used.

    Attributes
    ----------
    origin
        Where the brain decoder comes from, for messages.
    encoder
        Name of the image encoder whose tokens the brain decoder predicts.
    images_hash
        Hash of the images of its training data, where its training bank refers to their rows.
    """

    origin: str
    encoder: str
    images_hash: str | None

    @property
    def model(self) -> MindEye:
        """Return the brain decoder, in eval mode."""
        ...

    def load(self) -> None:
        """Load every network that the settings use, or raise if one is missing."""
        ...

    def hint(self, subject: str) -> str:
        """Return what to do about a subject that the brain decoder was not trained on."""
        ...

    def encode(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Encode images, RGB in [0, 1], as true tokens on the CPU."""
        ...

    def training_bank(self, subject: str) -> TrainingBank | None:
        """Return tokens of a subject's training images, predicted and true, where kept."""
        ...

    def forward_model(
        self, tokens: Float[Tensor, "images tokens features"]
    ) -> Float[Tensor, "images tokens features"]:
        """Map true tokens to those that decoding is expected to give; the identity if unknown."""
        ...

    def decode_images(
        self, tokens: Float[Tensor, "batch tokens features"], *, seeds: Sequence[int]
    ) -> Float[Tensor, "batch rgb height width"]:
        """Decode tokens to images, RGB in [0, 1], one seed each."""
        ...

    def decode_lowlevel(
        self, latents: Float[Tensor, "batch channels _ _"]
    ) -> Float[Tensor, "batch rgb height width"]:
        """Decode latents of the low-level head to blurry images, RGB in [0, 1]."""
        ...

    def caption(self, tokens: Float[Tensor, "batch tokens features"]) -> list[str] | None:
        """Caption image tokens; None where captions are those of the nearest training images."""
        ...

    def refine(
        self,
        images: Float[Tensor, "batch rgb _ _"],
        captions: Sequence[str],
        *,
        seeds: Sequence[int],
    ) -> Float[Tensor, "batch rgb height width"] | None:
        """Refine decoded images, RGB in [0, 1], with their captions; None without refiner."""
        ...


_PUBLISHED_ONLY = ("ridges", "sampling", "refine", "captioner", "precision", "offload")
"""Settings of the networks of published weights, which a run does not have."""


class RunPipeline:
    """A run that ``mindeye2 train`` finished, with a small image decoder.

    Parameters
    ----------
    folder
        Run folder of the brain decoder.
    settings
        ``decoder`` is the run folder of the image decoder; the shipped one by default.
    device
        Where to compute.

    Raises
    ------
    ArtifactError
        If the run is unfinished or has no brain decoder.
    ValueError
        If `settings` has values for networks of published weights, which would have no effect.
    """

    def __init__(
        self, folder: Path, *, settings: ReconstructSettings, device: torch.device
    ) -> None:
        self._folder = Path(folder)
        self._settings = settings
        self._device = device
        self.origin = f"the run {folder}"
        run = load_run(self._folder)
        default = ReconstructSettings()
        unused = [n for n in _PUBLISHED_ONLY if getattr(settings, n) != getattr(default, n)]
        if unused:
            raise ValueError(
                f"settings {unused} are for the networks of published weights, and {self.origin} "
                "would ignore them. Leave them out, or name published weights with --init."
            )
        self.model = run.model.to(device)
        self.encoder = run.encoder
        found = run.manifest.get("images")
        self.images_hash = None if found is None else str(found)
        self._forward_model = load_forward_model(self._folder)

    def load(self) -> None:
        """Load the image decoder, where images are wanted."""
        if self._settings.images:
            _ = self.image_decoder

    def hint(self, subject: str) -> str:
        """Return the command that adapts the run to another subject."""
        recipe = f"mindeye2 train --recipe adapt --init {self._folder} --set subject={subject}"
        return f"Choose one of them with --set subject=..., or adapt the run: {recipe}"

    @cached_property
    def image_decoder(self) -> Unclip:
        """The small unCLIP image decoder."""
        return load_unclip_decoder(self._settings.decoder).to(self._device)

    @cached_property
    def _encoder(self) -> ImageEncoder:
        encoder = load_encoder(self.encoder)
        return encoder.to(self._device) if isinstance(encoder, nn.Module) else encoder

    @torch.no_grad()
    def encode(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Encode images with the encoder of the run's training."""
        return self._encoder(images.to(self._device)).cpu()

    def training_bank(self, subject: str) -> TrainingBank:
        """Load the training bank that the run kept."""
        return load_training_bank(self._folder, subject)

    def forward_model(
        self, tokens: Float[Tensor, "images tokens features"]
    ) -> Float[Tensor, "images tokens features"]:
        """Apply the forward model of pretraining; the identity where none was fitted."""
        return tokens if self._forward_model is None else self._forward_model(tokens)

    def decode_images(
        self, tokens: Float[Tensor, "batch tokens features"], *, seeds: Sequence[int]
    ) -> Float[Tensor, "batch rgb height width"]:
        """Decode tokens with the small image decoder."""
        return self.image_decoder.decode(tokens.to(self._device), seeds=seeds)

    def decode_lowlevel(
        self, latents: Float[Tensor, "batch channels _ _"]
    ) -> Float[Tensor, "batch rgb height width"]:
        """Decode latents with the image decoder's autoencoder."""
        return self.image_decoder.autoencoder.decode(latents.to(self._device))

    def caption(
        self,
        tokens: Float[Tensor, "batch tokens features"],
    ) -> None:
        """Return None: captions are those of the nearest training images."""

    def refine(
        self,
        images: Float[Tensor, "batch rgb _ _"],
        captions: Sequence[str],
        *,
        seeds: Sequence[int],
    ) -> None:
        """Return None: a run has no refiner."""


def check_fit(prepared: Prepared, pipeline: Pipeline, subject: str) -> None:
    """Refuse a model and a data set that do not fit each other."""
    known = pipeline.model.ridge.n_voxels
    if subject not in known:
        raise ArtifactError(
            f"{pipeline.origin} was trained on {sorted(known)}, not on {subject!r}. "
            f"{pipeline.hint(subject)}"
        )
    if subject not in prepared.n_voxels:
        raise ArtifactError(
            f"the data set {prepared.folder} has {prepared.subjects}, not {subject!r}."
        )
    if known[subject] != prepared.n_voxels[subject]:
        raise ArtifactError(
            f"{pipeline.origin} was trained on {known[subject]} voxels of {subject}, the data set "
            f"{prepared.folder} has {prepared.n_voxels[subject]}. It is a run of another data set."
        )
    # The training bank refers to training images by their rows.
    if pipeline.images_hash not in (None, prepared.images_hash):
        raise ArtifactError(
            f"{pipeline.origin} was trained on other images than those of {prepared.folder}. It "
            "is a run of another data set: give the one that it was trained on with --source."
        )
