"""Frozen networks around the brain decoder: image encoder, image decoder, captioner, refiner."""

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mindeye2.core.errors import ArtifactError
from mindeye2.encoders.bank import ImageEncoder
from mindeye2.encoders.registry import load_encoder
from mindeye2.generation.decoders import load_unclip_decoder, shipped_decoder
from mindeye2.generation.unclip import Unclip
from mindeye2.models.checkpoint import LoadedRun
from mindeye2.stages.reconstruct.reconstruct_settings import NEAREST, ReconstructSettings

__all__ = ["LaptopNetworks", "Networks"]


@runtime_checkable
class Networks(Protocol):
    """Networks that encode images as tokens, and turn tokens into images and captions.

    Implementations load a network when it is first used.
    """

    def load(self, *, latent_channels: int | None) -> None:
        """Load every network that the settings use, or raise if one is missing.

        `latent_channels` are those of the brain decoder's low-level latents, if it has any.
        """
        ...

    def encode(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Encode images, RGB in [0, 1], as true tokens on the CPU."""
        ...

    def decode_images(
        self, tokens: Float[Tensor, "batch tokens features"], *, seeds: Sequence[int]
    ) -> Float[Tensor, "batch rgb height width"]:
        """Decode tokens to images, RGB in [0, 1], one seed each."""
        ...

    def decode_lowlevel(
        self, latents: Float[Tensor, "batch channels _ _"]
    ) -> Float[Tensor, "batch rgb height width"]:
        """Decode low-level latents to blurry images, RGB in [0, 1]."""
        ...

    def caption(self, tokens: Float[Tensor, "batch tokens features"]) -> list[str] | None:
        """Caption tokens; None where captions are those of the nearest training images."""
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


_PUBLISHED_ONLY = ("sampling", "refine", "captioner", "precision", "offload")
"""Settings of the published networks, which the small ones do not have."""


class LaptopNetworks:
    """A small image decoder, and the encoder of the run's training.

    Parameters
    ----------
    run
        Run of the brain decoder.
    origin
        Where it comes from, for messages.
    settings
        ``decoder`` is the run folder of the image decoder; the shipped one by default.
    device
        Where to compute.

    Raises
    ------
    ValueError
        If `settings` has values for the published networks, which would have no effect.
    """

    def __init__(
        self, run: LoadedRun, *, origin: str, settings: ReconstructSettings, device: torch.device
    ) -> None:
        self._run = run
        self._origin = origin
        self._settings = settings
        self._device = device
        default = ReconstructSettings()
        unused = [n for n in _PUBLISHED_ONLY if getattr(settings, n) != getattr(default, n)]
        if settings.captioner == NEAREST and "captioner" in unused:
            unused.remove("captioner")
        if unused:
            raise ValueError(
                f"settings {unused} are for the published networks, and {origin} would ignore "
                f"them. Leave them out{self._instead()}"
            )

    def _instead(self) -> str:
        if self._run.encoder.startswith("bigg"):
            return ", or name the folder of imported networks with --set decoder=FOLDER."
        return (
            ". The published networks decode tokens of 'bigg', and this run predicts "
            f"{self._run.encoder!r}."
        )

    def load(self, *, latent_channels: int | None) -> None:  # noqa: ARG002 - of the same decoder
        """Load the image decoder, where images are wanted."""
        if not self._settings.images:
            return
        wanted, width = self.image_decoder.settings.n_features, self._run.settings.n_features
        if wanted != width:
            hint = "the run folder of one with --set decoder=FOLDER"
            if self._run.encoder.startswith("bigg"):
                hint = "the folder of the imported unCLIP with --set decoder=FOLDER"
            raise ArtifactError(
                f"{self._origin} predicts tokens of {width} features ({self._run.encoder}), the "
                f"image decoder in {self._settings.decoder or shipped_decoder()} takes {wanted}. "
                f"Give {hint}, or write tokens only, with --set images=false."
            )

    @cached_property
    def image_decoder(self) -> Unclip:
        """The small unCLIP image decoder."""
        return load_unclip_decoder(self._settings.decoder).to(self._device)

    @cached_property
    def _encoder(self) -> ImageEncoder:
        encoder = load_encoder(self._run.encoder)
        return encoder.to(self._device) if isinstance(encoder, nn.Module) else encoder

    @torch.no_grad()
    def encode(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Encode images with the encoder of the run's training."""
        return self._encoder(images.to(self._device)).cpu()

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
        """Return None: there is no refiner."""
