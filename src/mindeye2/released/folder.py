"""Imported published weights, as a pipeline for reconstruction."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.encoders.clip import ClipTokens, load_clip_tokens
from mindeye2.encoders.sd_vae import SdLatents
from mindeye2.generation.captions import GitCaptioner, load_captioner
from mindeye2.generation.sd.files import load_sdxl
from mindeye2.generation.sd.pipeline import Sdxl
from mindeye2.generation.sd.refine import Refiner, load_refiner
from mindeye2.models.decoder import MindEye
from mindeye2.released.files import PUBLISHED
from mindeye2.released.mindeye import load_mindeye
from mindeye2.released.networks import load_clip_converter, load_lowlevel_vae
from mindeye2.released.unclip import load_unclip
from mindeye2.stages.reconstruct import ReconstructSettings

__all__ = ["ReleasedPipeline", "find_imported", "is_released", "locate"]

WEIGHTS = Path("weights")
"""Where imported weights are looked for by name, in the working directory."""


def find_imported(folder: Path) -> dict[str, Path]:
    """Find the networks that were imported into a folder, or into folders inside it.

    Parameters
    ----------
    folder
        Folder of an import, or one that holds several.

    Returns
    -------
    dict
        Kind of network -> its file.

    Raises
    ------
    ArtifactError
        If an import did not finish, or a kind was imported twice.
    """
    folder = Path(folder)
    return _find_in([folder, *_inner(folder)])


def locate(name_or_folder: str | Path) -> Path:
    """Find the folder that a published brain decoder was imported into.

    Parameters
    ----------
    name_or_folder
        A folder, or the name of a published file, which is looked for in ``weights/``.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ArtifactError
        If there is none; for a published name with the command that downloads it.
    """
    folder, imported = Path(name_or_folder), WEIGHTS / str(name_or_folder)
    if folder.is_dir():
        return folder
    if imported.is_dir():
        return imported
    if str(name_or_folder) in PUBLISHED:
        raise ArtifactError(
            f"{imported} is not there yet. 'mindeye2 import --released {name_or_folder} --out "
            f"{imported}' shows its size and licence, and downloads it; or give the folder it was "
            "imported into."
        )
    raise ArtifactError(
        f"{folder} is neither a folder that 'mindeye2 import' filled nor a published name. "
        f"Names: {sorted(PUBLISHED)}."
    )


def _inner(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []


def _find_in(folders: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        files = list(folder.glob("*.safetensors")) if _is_import(folder) else []
        for file in sorted(files):
            if file.stem in found:
                raise ArtifactError(
                    f"{found[file.stem]} and {file} hold the same network. Give a folder with one "
                    "of them."
                )
            found[file.stem] = file
        if files:
            read_manifest(folder, stage="import")
    return found


def _is_import(folder: Path) -> bool:
    """Return whether ``mindeye2 import`` filled a folder, or started to."""
    path = folder / "manifest.json"
    return path.exists() and '"stage": "import"' in path.read_text(encoding="utf-8")


def is_released(folder: Path) -> bool:
    """Return whether a folder holds an imported brain decoder; it need not exist."""
    return "mindeye" in find_imported(folder)


class ReleasedPipeline:
    """The published pipeline; each network is loaded when it is first used.

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

    encoder = "bigg"
    images_hash: str | None = None

    def __init__(
        self,
        folder: Path,
        *,
        settings: ReconstructSettings,
        device: torch.device,
    ) -> None:
        self._folder = Path(folder)
        self._settings = settings
        self._device = device
        self._files = find_imported(self._folder)
        if settings.decoder is not None:
            self._files |= {
                k: v for k, v in find_imported(settings.decoder).items() if k != "mindeye"
            }
        elif (self._folder / "mindeye.safetensors").exists():
            self._files = {**self._beside(), **self._files}
        self.origin = f"the published checkpoint in {folder}"
        self._need("mindeye", "Import a published brain decoder, or give its folder.")

    def _beside(self) -> dict[str, Path]:
        """Find networks that were imported next to the brain decoder; not other brain decoders."""
        folders = _inner(self._folder.resolve().parent)
        return _find_in([p for p in folders if not (p / "mindeye.safetensors").exists()])

    def _need(self, kind: str, instead: str) -> Path:
        if kind not in self._files:
            raise ArtifactError(
                f"{self._folder} holds {sorted(self._files)}, but {kind!r} is needed here: "
                f"'mindeye2 import FILE --out {self._folder / kind}' imports it. {instead}"
            )
        return self._files[kind]

    def load(self) -> None:
        """Load every network that the settings use."""
        _ = self.captioner
        if self._settings.images:
            _ = (self.image_decoder, self.refiner)
            if self.model.lowlevel is not None:
                _ = self.lowlevel_decoder

    def hint(self, subject: str) -> str:
        """Return what to do about a subject that the checkpoint was not trained on."""
        return f"Give the checkpoint that was fine-tuned to {subject}, or another --set subject."

    @cached_property
    def model(self) -> MindEye:
        """The brain decoder."""
        loaded = load_mindeye(self._files["mindeye"], subjects=self._settings.ridges)
        return loaded.eval().requires_grad_(requires_grad=False).to(self._device)

    @cached_property
    def image_decoder(self) -> Sdxl:
        """The published unCLIP, or one that ``mindeye2 train --recipe unclip_sdxl`` trained."""
        s = self._settings
        if s.decoder is not None and (s.decoder / "unet").is_dir():
            read_manifest(s.decoder, stage="train")
            unclip = load_sdxl(s.decoder, sampling=s.sampling)
        else:
            unclip = self._published_unclip()
        return unclip.to_device(self._device, dtype=getattr(torch, s.precision), offload=s.offload)

    def _published_unclip(self) -> Sdxl:
        file = self._need("unclip", "Or write tokens only, with --set images=false.")
        # Shapes do not determine it; the manifest of the import has the setting.
        imported = read_manifest(file.parent, stage="import")["config"]
        unclip = load_unclip(
            file,
            head_channels=imported["head_channels"],
            dtype=None,
            sampling=self._settings.sampling,
        )
        return unclip.eval().requires_grad_(requires_grad=False)

    @cached_property
    def lowlevel_decoder(self) -> SdLatents:
        """Stable Diffusion's autoencoder."""
        file = self._need("lowlevel_vae", "Or write tokens only, with --set images=false.")
        vae = load_lowlevel_vae(file).eval().requires_grad_(requires_grad=False)
        return SdLatents(vae).to(self._device)

    @cached_property
    def captioner(self) -> GitCaptioner | None:
        """GIT behind the published converter, where captions are wanted."""
        if not self._settings.captions:
            return None
        file = self._need("clip_converter", "Or go on without, with --set captions=false.")
        converter = load_clip_converter(file)
        return load_captioner(converter, name=self._settings.captioner).to(self._device)

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
        return load_clip_tokens(self._files.get("clip_tokens")).to(self._device)

    @torch.no_grad()
    def encode(
        self, images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Encode images with OpenCLIP bigG in the released input range."""
        tokens: Tensor = self._encoder(images.to(self._device))
        return tokens.cpu()

    def training_bank(self, subject: str) -> None:
        """Return None: published weights come without a training bank."""

    def forward_model(
        self, tokens: Float[Tensor, "images tokens features"]
    ) -> Float[Tensor, "images tokens features"]:
        """Return the tokens: published weights come without a forward model."""
        return tokens

    def decode_images(
        self, tokens: Float[Tensor, "batch tokens features"], *, seeds: Sequence[int]
    ) -> Float[Tensor, "batch rgb height width"]:
        """Decode tokens with unCLIP."""
        return self.image_decoder.decode(tokens.to(self._device), seeds=seeds)

    def decode_lowlevel(
        self, latents: Float[Tensor, "batch channels _ _"]
    ) -> Float[Tensor, "batch rgb height width"]:
        """Decode latents with Stable Diffusion's autoencoder."""
        return self.lowlevel_decoder.decode(latents.to(self._device))

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
