"""Pipelines of reconstruction: a brain decoder with the frozen networks around it."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared import Prepared
from mindeye2.generation.reference_scenes import ReferenceScenes, load_reference_scenes
from mindeye2.models.checkpoint import LoadedRun, load_run
from mindeye2.models.decoder import MindEye
from mindeye2.models.forward_model import load_forward_model
from mindeye2.models.training_bank import TrainingBank, load_training_bank
from mindeye2.stages.reconstruct.networks import LaptopNetworks, Networks
from mindeye2.stages.reconstruct.reconstruct_settings import ReconstructSettings

__all__ = ["Pipeline", "RunPipeline", "check_fit"]

_SCENE_ENCODER = "lite0"
"""Encoder whose tokens the reference scenes are compared by."""


@runtime_checkable
class Pipeline(Protocol):
    """A brain decoder and the networks that turn its tokens into images and captions.

    Attributes
    ----------
    folder
        Folder of the brain decoder.
    origin
        Where it comes from, for messages.
    encoder
        Name of the image encoder whose tokens the brain decoder predicts.
    images_hash
        Hash of the images of its training data, where its training bank refers to their rows.
    networks
        Image encoder, image decoder, captioner, refiner.
    """

    folder: Path
    origin: str
    encoder: str
    images_hash: str | None
    networks: Networks

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

    def training_bank(self, subject: str) -> TrainingBank | None:
        """Return tokens of a subject's training images, predicted and true, where kept."""
        ...

    def forward_model(
        self, tokens: Float[Tensor, "images tokens features"]
    ) -> Float[Tensor, "images tokens features"]:
        """Map true tokens to those that decoding is expected to give; the identity if unknown."""
        ...

    def whiten(
        self, tokens: Float[Tensor, "images tokens features"]
    ) -> Float[Tensor, "images ..."]:
        """Map decoded or expected tokens to what is compared; the identity if unknown."""
        ...

    def reference_scenes(self) -> ReferenceScenes | None:
        """Return the scenes that lend detail to decoded images, where any are wanted."""
        ...


class RunPipeline:
    """A run that ``mindeye2 train`` finished, by default with a small image decoder.

    Parameters
    ----------
    folder
        Run folder of the brain decoder.
    settings
        Selection and settings of the networks.
    device
        Where to compute.
    networks
        Chooses other networks for the run; None keeps the small ones.

    Raises
    ------
    ArtifactError
        If the run is unfinished or has no brain decoder.
    ValueError
        If `settings` has values for networks of published weights, which would have no effect.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: ReconstructSettings,
        device: torch.device,
        networks: Callable[[LoadedRun], Networks | None] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.origin = f"the run {folder}"
        run = load_run(self.folder)
        if settings.ridges is not None:
            raise ValueError(
                f"'ridges' names the subjects of published weights, and {self.origin} would "
                "ignore it. Leave it out."
            )
        self.model = run.model.to(device)
        self.encoder = run.encoder
        lowlevel = run.settings.lowlevel
        self._latent_channels = None if lowlevel is None else lowlevel.latent_shape[0]
        chosen = networks(run) if networks is not None else None
        self.networks: Networks = chosen or LaptopNetworks(
            run, origin=self.origin, settings=settings, device=device
        )
        found = run.manifest.get("images")
        self.images_hash = None if found is None else str(found)
        self._forward_model = load_forward_model(self.folder, self.model.backbone.output)
        self._has_references = self._wants_references(run, settings)

    def _wants_references(self, run: LoadedRun, settings: ReconstructSettings) -> bool:
        if settings.references == "scenes" and run.encoder != _SCENE_ENCODER:
            raise ValueError(
                f"references='scenes' compares tokens of {_SCENE_ENCODER!r}, and {self.origin} "
                f"predicts those of {run.encoder!r}. Leave it out."
            )
        composed = bool(run.manifest.get("composed_scenes")) and run.encoder == _SCENE_ENCODER
        used = settings.images or settings.captions
        automatic = settings.references == "auto" and composed and used
        return settings.references == "scenes" or automatic

    def load(self) -> None:
        """Load every network that the settings use."""
        self.networks.load(latent_channels=self._latent_channels)

    def hint(self, subject: str) -> str:
        """Return the command that adapts the run to another subject."""
        recipe = f"mindeye2 train --recipe adapt --init {self.folder} --subject {subject}"
        return f"Choose one of them with --subject, or adapt the run: {recipe}"

    def training_bank(self, subject: str) -> TrainingBank:
        """Load the training bank that the run kept."""
        return load_training_bank(self.folder, subject)

    def forward_model(
        self, tokens: Float[Tensor, "images tokens features"]
    ) -> Float[Tensor, "images tokens features"]:
        """Apply the forward model of pretraining; the identity where none was fitted."""
        return tokens if self._forward_model is None else self._forward_model(tokens)

    def whiten(
        self, tokens: Float[Tensor, "images tokens features"]
    ) -> Float[Tensor, "images ..."]:
        """Whiten by the errors of pretraining; the identity where they are not known."""
        return tokens if self._forward_model is None else self._forward_model.whiten(tokens)

    def reference_scenes(self) -> ReferenceScenes | None:
        """Load the shipped scenes, for a run on composed scenes or where they are asked for."""
        return self._scenes if self._has_references else None

    @cached_property
    def _scenes(self) -> ReferenceScenes:
        return load_reference_scenes()


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
            f"{prepared.folder} has {prepared.n_voxels[subject]}. It is a run of another data "
            "set: give the one that it was trained on with --source, or train a run on this one."
        )
    # The training bank refers to training images by their rows.
    if pipeline.images_hash not in (None, prepared.images_hash):
        raise ArtifactError(
            f"{pipeline.origin} was trained on other images than those of {prepared.folder}. It "
            "is a run of another data set: give the one that it was trained on with --source."
        )
