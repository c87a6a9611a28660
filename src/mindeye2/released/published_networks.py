"""The published networks around the brain decoder, from imported files."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.encoders.clip import ClipTokens, load_clip_tokens
from mindeye2.encoders.sd_vae import SdLatents
from mindeye2.generation.autoencoder import Autoencoder
from mindeye2.generation.captions import GitCaptioner, load_captioner
from mindeye2.generation.decoders import load_autoencoder, shipped_decoder
from mindeye2.generation.sd.refine import Refiner, load_refiner
from mindeye2.generation.sd.sdxl import Sdxl
from mindeye2.generation.sd.sdxl_files import load_sdxl
from mindeye2.models.checkpoint import LoadedRun
from mindeye2.released.imported import find_networks, inner_folders
from mindeye2.released.network_loaders import load_clip_converter, load_lowlevel_vae
from mindeye2.released.published_unclip import load_unclip
from mindeye2.stages.reconstruct.reconstruct_settings import NEAREST, ReconstructSettings

__all__ = ["ENCODER", "SD_CHANNELS", "PublishedNetworks", "networks_of_run"]

ENCODER = "bigg"
"""Encoder of the tokens that the published unCLIP and captioner take."""

SD_CHANNELS = 4
"""Channels of the latents of Stable Diffusion's autoencoder."""


class PublishedNetworks:
    """unCLIP, low-level autoencoder, captioner and refiner; each is loaded when it is first used.

    Parameters
    ----------
    files
        Kind of network -> imported file.
    folder
        Where they were looked for, for messages.
    settings
        Settings of the networks.
    device
        Device of all networks.
    encoder
        Encoder of the tokens.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        *,
        folder: Path,
        settings: ReconstructSettings,
        device: torch.device,
        encoder: str = ENCODER,
    ) -> None:
        self._files = dict(files)
        self._folder = folder
        self._settings = settings
        self._device = device
        self._encoder_name = encoder

    def _need(self, kind: str, instead: str) -> Path:
        if kind not in self._files:
            raise ArtifactError(
                f"{self._folder} holds {sorted(self._files)}, but {kind!r} is needed here: "
                f"'mindeye2 import FILE --out {self._folder / kind}' imports it. {instead}"
            )
        return self._files[kind]

    def load(self, *, latent_channels: int | None) -> None:
        """Load every network that the settings use."""
        _ = self.captioner
        if self._settings.images:
            _ = (self.image_decoder, self.refiner)
            if latent_channels is not None:
                _ = self._lowlevel(latent_channels)

    @cached_property
    def image_decoder(self) -> Sdxl:
        """The published unCLIP, or one that ``mindeye2 train --recipe unclip_sdxl`` trained."""
        s = self._settings
        trained = None if s.decoder is None else find_trained_unclip(s.decoder)
        if trained is None:
            unclip = self._published_unclip()
        else:
            self._check_trained_on(read_manifest(trained, stage="train")["config"], trained)
            unclip = load_sdxl(trained, sampling=s.sampling)
        return unclip.to_device(self._device, dtype=getattr(torch, s.precision), offload=s.offload)

    def _check_trained_on(self, config: Mapping[str, object], folder: Path) -> None:
        if config.get("encoder", ENCODER) != self._encoder_name:
            raise ArtifactError(
                f"the image decoder in {folder} was trained on tokens of {config['encoder']!r}, "
                f"but the brain decoder predicts those of {self._encoder_name!r}. Give another "
                "with --set decoder=FOLDER."
            )

    def _published_unclip(self) -> Sdxl:
        file = self._need("unclip", "Or write tokens only, with --set images=false.")
        self._check_trained_on({"encoder": ENCODER}, file.parent)
        # Shapes do not determine it; the manifest of the import has the setting.
        imported = read_manifest(file.parent, stage="import")["config"]
        unclip = load_unclip(
            file,
            head_channels=imported["head_channels"],
            dtype=None,
            sampling=self._settings.sampling,
        )
        return unclip.eval().requires_grad_(requires_grad=False)

    def _lowlevel(self, channels: int) -> SdLatents | Autoencoder:
        return self.lowlevel_decoder if channels == SD_CHANNELS else self._laptop_autoencoder

    @cached_property
    def lowlevel_decoder(self) -> SdLatents:
        """Stable Diffusion's autoencoder."""
        file = self._need("lowlevel_vae", "Or write tokens only, with --set images=false.")
        vae = load_lowlevel_vae(file).eval().requires_grad_(requires_grad=False)
        return SdLatents(vae).to(self._device)

    @cached_property
    def _laptop_autoencoder(self) -> Autoencoder:
        """The shipped autoencoder, whose latents a run may predict beside tokens of ``bigg``."""
        return load_autoencoder(shipped_decoder()).to(self._device)

    @cached_property
    def captioner(self) -> GitCaptioner | None:
        """GIT behind the published converter, where captions are generated."""
        s = self._settings
        if not s.captions or s.captioner == NEAREST:
            return None
        file = self._need(
            "clip_converter",
            f"Or go on without, with --set captions=false, or with --set captioner={NEAREST}.",
        )
        self._check_trained_on({"encoder": ENCODER}, file.parent)
        return load_captioner(load_clip_converter(file), name=s.captioner).to(self._device)

    @cached_property
    def refiner(self) -> Refiner | None:
        """SDXL base, where refinement is wanted."""
        s = self._settings
        if s.refine is None:
            return None
        return load_refiner(
            s.refine, device=self._device, dtype=getattr(torch, s.precision), offload=s.offload
        )

    @cached_property
    def _encoder(self) -> ClipTokens:
        scaling = "released" if self._encoder_name == ENCODER else "clean"
        found = load_clip_tokens(self._files.get("clip_tokens"), scaling=scaling)
        return found.to(self._device)

    @torch.no_grad()
    def encode(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Encode images with OpenCLIP bigG, in the input range of the brain decoder's training."""
        tokens: Tensor = self._encoder(images.to(self._device))
        return tokens.cpu()

    def decode_images(
        self, tokens: Float[Tensor, "batch tokens features"], *, seeds: Sequence[int]
    ) -> Float[Tensor, "batch rgb height width"]:
        """Decode tokens with unCLIP."""
        return self.image_decoder.decode(tokens.to(self._device), seeds=seeds)

    def decode_lowlevel(
        self, latents: Float[Tensor, "batch channels _ _"]
    ) -> Float[Tensor, "batch rgb height width"]:
        """Decode latents with the autoencoder that they are of."""
        return self._lowlevel(latents.shape[1]).decode(latents.to(self._device))

    def caption(self, tokens: Float[Tensor, "batch tokens features"]) -> list[str] | None:
        """Caption image tokens with GIT."""
        return None if self.captioner is None else self.captioner(tokens)

    def refine(
        self,
        images: Float[Tensor, "batch rgb _ _"],
        captions: Sequence[str],
        *,
        seeds: Sequence[int],
    ) -> Float[Tensor, "batch rgb height width"] | None:
        """Refine images with SDXL base."""
        return None if self.refiner is None else self.refiner(images, captions, seeds=seeds)


def find_trained_unclip(folder: Path) -> Path | None:
    """Find an SDXL unCLIP that ``mindeye2 train`` wrote into a folder, or into one inside it."""
    return next((p for p in (folder, *inner_folders(folder)) if (p / "unet").is_dir()), None)


def networks_of_run(
    run: LoadedRun, *, settings: ReconstructSettings, device: torch.device
) -> PublishedNetworks | None:
    """Choose the published networks for a run, where ``decoder`` names a folder of them.

    Raises ``ArtifactError`` if the run predicts tokens of an encoder that they do not take.
    """
    folder = settings.decoder
    if folder is None:
        return None
    files = find_networks(folder)
    if not files and find_trained_unclip(folder) is None:
        return None
    if not run.encoder.startswith(ENCODER):
        raise ArtifactError(
            f"{folder} holds published networks, which take tokens of {ENCODER!r}, but the run "
            f"predicts tokens of {run.encoder!r}. Train with targets.tokens={ENCODER}, or leave "
            "--set decoder out."
        )
    return PublishedNetworks(
        files, folder=folder, settings=settings, device=device, encoder=run.encoder
    )
