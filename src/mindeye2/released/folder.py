"""Pipelines of imported published weights, and of runs that use published networks."""

from functools import cached_property, partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.errors import ArtifactError
from mindeye2.models.decoder import MindEye
from mindeye2.released.imported import find_imported, find_networks, is_released
from mindeye2.released.mindeye import load_mindeye
from mindeye2.released.published_networks import (
    ENCODER,
    SD_CHANNELS,
    PublishedNetworks,
    networks_of_run,
)
from mindeye2.stages.reconstruct import Pipeline, ReconstructSettings, RunPipeline
from mindeye2.stages.reconstruct.networks import Networks

__all__ = ["ReleasedPipeline", "open_pipeline"]


def open_pipeline(
    folder: Path, *, settings: ReconstructSettings, device: torch.device
) -> Pipeline:
    """Open published weights, or a run with the networks that its encoder and ``decoder`` need."""
    if is_released(folder):
        return ReleasedPipeline(folder, settings=settings, device=device)
    networks = partial(networks_of_run, settings=settings, device=device)
    return RunPipeline(folder, settings=settings, device=device, networks=networks)


class ReleasedPipeline:
    """Published weights with the published networks.

    Parameters
    ----------
    folder
        Folder of the imported brain decoder, next to which those of the other networks may be, or
        one that holds the folders of all of them.
    settings
        Selection and settings of the networks.
    device
        Device of all networks.

    Raises
    ------
    ArtifactError
        If the folder holds no brain decoder.
    """

    encoder = ENCODER
    images_hash: str | None = None

    def __init__(
        self, folder: Path, *, settings: ReconstructSettings, device: torch.device
    ) -> None:
        self.folder = folder = Path(folder)
        files = find_imported(folder)
        if (folder / "mindeye.safetensors").exists():
            files = {**find_networks(folder.resolve().parent), **files}
        if settings.decoder is not None:
            files |= find_networks(settings.decoder)
        self.origin = f"the published checkpoint in {folder}"
        if "mindeye" not in files:
            raise ArtifactError(
                f"{folder} holds {sorted(files)}, but 'mindeye' is needed here. Import a "
                "published brain decoder, or give its folder."
            )
        self._file = files["mindeye"]
        self._settings = settings
        self._device = device
        self.networks: Networks = PublishedNetworks(
            files, folder=folder, settings=settings, device=device
        )

    def load(self) -> None:
        """Load every network that the settings use."""
        channels = None if self.model.lowlevel is None else SD_CHANNELS
        self.networks.load(latent_channels=channels)

    def hint(self, subject: str) -> str:
        """Return what to do about a subject that the checkpoint was not trained on."""
        return f"Give the checkpoint that was fine-tuned to {subject}, or another --subject."

    @cached_property
    def model(self) -> MindEye:
        """The brain decoder."""
        loaded = load_mindeye(self._file, subjects=self._settings.ridges)
        return loaded.eval().requires_grad_(requires_grad=False).to(self._device)

    def training_bank(self, subject: str) -> None:
        """Return None: published weights come without a training bank."""

    def forward_model(
        self, tokens: Float[Tensor, "images tokens features"]
    ) -> Float[Tensor, "images tokens features"]:
        """Return the tokens: published weights come without a forward model."""
        return tokens

    def whiten(
        self, tokens: Float[Tensor, "images tokens features"]
    ) -> Float[Tensor, "images ..."]:
        """Return the tokens: published weights come without the errors of their decoding."""
        return tokens

    def reference_scenes(self) -> None:
        """Return None: published images are refined by SDXL."""
