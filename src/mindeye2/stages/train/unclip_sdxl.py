"""Train unCLIP at full size: SDXL base learns to attend to image tokens."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from mindeye2.core.runtime import generator, process_rng
from mindeye2.core.settings import Settings
from mindeye2.data.image_collection import ImageCollection, open_image_collection
from mindeye2.encoders.bank import ImageEncoder, to_float
from mindeye2.encoders.registry import load_encoder
from mindeye2.generation.sd.refine import BASE
from mindeye2.generation.sd.schedule import N_LEVELS, training_levels
from mindeye2.generation.sd.sdxl import Sdxl
from mindeye2.generation.sd.sdxl_files import attend_to, load_base, save_sdxl
from mindeye2.training.batches import epoch_rows
from mindeye2.training.distributed import current_shard, run_on_rank0
from mindeye2.training.loop import OptimizerSettings, fit

__all__ = ["SdxlUnclipTraining", "train_unclip_sdxl"]


class SdxlUnclipTraining(Settings):
    """Training of SDXL unCLIP; the defaults are the paper's."""

    seed: int = 0
    """Seeds new weights, batches and noise."""

    base: str = BASE
    """SDXL base: a name on the hub, a folder in diffusers' layout or a single file."""

    encoder: str = "bigg"
    """Encoder of the image tokens, a key of `mindeye2.encoders.registry.ENCODERS`."""

    encoder_weights: Path | None = None
    """Folder of the encoder's imported weights, where it needs one."""

    cache_tokens: bool = False
    """Keep each image's tokens on disk once they are encoded: .85 MB an image at full size."""

    size: Annotated[int, Field(ge=64, multiple_of=64)] = 256
    """Side in pixels of the training images (the published config: up to 512)."""

    batch_size: Annotated[int, Field(ge=1)] = 8
    """Images per step, of all processes together."""

    offset_noise: Annotated[float, Field(ge=0)] = 0.04
    """Standard deviation of the noise that is equal over all latents of an image."""

    trained: Literal["all", "cross_attention"] = "all"
    """Trained weights of the U-Net; the published config freezes none, the paper mentions the
    cross-attention to tokens."""

    optimizer: OptimizerSettings = OptimizerSettings(
        steps=110_000,
        max_lr=1e-5,
        schedule="constant",
        warmup=1000 / 110_000,
        start_factor=1e6,
        weight_decay=1e-2,
    )
    """Optimiser, schedule and precision; ``optimizer.ema_decay`` keeps a running average."""


class UnclipLoss(nn.Module):
    """The training loss of SDXL unCLIP: the noise is predicted at uniformly sampled levels.

    Parameters
    ----------
    unet
        The U-Net of diffusers, alone: frozen networks are neither copied nor sharded with it.
    """

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self,
        latents: Float[Tensor, "batch channels height width"],
        tokens: Float[Tensor, "batch tokens features"],
        vectors: Float[Tensor, "batch features2"],
        *,
        noise: Float[Tensor, "batch channels height width"],
        level: Int[Tensor, " batch"],
    ) -> dict[str, Tensor]:
        """Return the mean squared error of the noise, equally weighted at all levels."""
        noise, level = noise.to(latents), level.to(latents.device)
        sigma = training_levels().to(latents)[level][:, None, None, None]
        epsilon = self.unet(
            (latents + sigma * noise) / (1 + sigma**2).sqrt(),
            level,
            encoder_hidden_states=tokens,
            class_labels=vectors,
            return_dict=False,
        )[0]
        return {"loss": F.mse_loss(epsilon.float(), noise.float())}


def sample_noise(
    shape: tuple[int, int, int, int], *, offset: float, generator: torch.Generator
) -> Float[Tensor, "batch channels height width"]:
    """Sample standard normal noise plus noise that is equal over all latents of an image."""
    equal = torch.randn(shape[0], 1, 1, 1, generator=generator)
    return torch.randn(shape, generator=generator) + offset * equal


class TokenCache:
    """Tokens of images, encoded at the first request and kept in `folder`; None keeps nothing."""

    def __init__(self, folder: Path | None, *, encoder: ImageEncoder, n_images: int) -> None:
        self._folder = folder
        self._encoder = encoder
        self._n = n_images
        self._values: np.ndarray | None = None
        self._known: np.ndarray | None = None

    @torch.no_grad()
    def __call__(
        self, rows: Int[Tensor, " batch"], images: Float[Tensor, "batch rgb height width"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Return the tokens of some images.

        Parameters
        ----------
        rows
            Their indices.
        images
            RGB in [0, 1].

        Returns
        -------
        Tensor
            On the device of `images`.
        """
        numbers = rows.numpy()
        if self._known is not None and self._values is not None and self._known[numbers].all():
            return torch.from_numpy(self._values[numbers].astype(np.float32)).to(images)
        tokens = self._encoder(images).float()
        if self._folder is not None:
            self._keep(numbers, tokens)
            # The same numbers now as when they are read again.
            tokens = tokens.half().float()
        return tokens

    def _keep(self, numbers: np.ndarray, tokens: Tensor) -> None:
        assert self._folder is not None
        if self._values is None or self._known is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            key = re.sub(r"\W+", "-", self._encoder.key)
            shape = (self._n, *tokens.shape[1:])
            self._values = _mapped(self._folder / f"{key}.npy", np.float16, shape)
            self._known = _mapped(self._folder / f"{key}-known.npy", np.bool_, (self._n,))
        self._values[numbers] = tokens.half().cpu().numpy()
        self._known[numbers] = True


def _mapped(path: Path, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    there = path.exists() and np.load(path, mmap_mode="r").shape == shape
    mode: Literal["r+", "w+"] = "r+" if there else "w+"
    return np.lib.format.open_memmap(path, mode=mode, dtype=None if there else dtype, shape=shape)


def train_unclip_sdxl(
    settings: SdxlUnclipTraining, *, source: Path, out: Path, device: torch.device
) -> dict[str, object]:
    """Train SDXL unCLIP, write ``unet`` (float16) and ``vae`` as diffusers does, return facts."""
    shard = current_shard()
    shard.check(settings.batch_size)
    if settings.cache_tokens and shard.world_size > 1:
        raise ValueError(
            f"cache_tokens=true keeps the tokens of one process, but {shard.world_size} processes "
            "were started. Add --set cache_tokens=false, or start one process."
        )
    collection = open_image_collection(source)
    encoder = load_encoder(settings.encoder, weights=settings.encoder_weights)
    if isinstance(encoder, nn.Module):
        encoder.to(device).eval().requires_grad_(requires_grad=False)
    # Hidden, so that it is not sealed with the results: it may be as large as the images.
    folder = out / ".tokens" if settings.cache_tokens else None
    tokens_of = TokenCache(folder, encoder=encoder, n_images=len(collection))
    probe = tokens_of(
        torch.tensor([0]),
        _images(collection, torch.tensor([0]), size=settings.size, device=device)[0],
    )
    sdxl = _start(settings, n_features=probe.shape[2]).to(device)
    loss = UnclipLoss(sdxl.unet)

    def batch_of(step: int) -> dict[str, object]:
        rows = epoch_rows(
            len(collection), settings.batch_size, step, seed=settings.seed, stream="pictures"
        )
        random, side = generator(settings.seed, "unclip", step), settings.size // 8
        shape = (len(rows), 4, side, side)
        encoding_noise = torch.randn(shape, generator=random)
        level = torch.randint(N_LEVELS, (len(rows),), generator=random)
        noise = sample_noise(shape, offset=settings.offset_noise, generator=random)
        own = shard.of(rows)
        images, vectors = _images(collection, own, size=settings.size, device=device, sdxl=sdxl)
        return {
            "latents": sdxl.encode_images(images, noise=shard.of(encoding_noise)),
            "tokens": tokens_of(own, images),
            "vectors": vectors,
            "noise": shard.of(noise),
            "level": shard.of(level),
        }

    fit(
        loss,
        batch_of,
        settings=settings.optimizer,
        seed=settings.seed,
        folder=out,
        device=device,
        label="unclip",
    )
    learned = sum(p.numel() for p in sdxl.parameters() if p.requires_grad)
    run_on_rank0(lambda: save_sdxl(out, sdxl.cpu()))
    return {"parameters": learned, "pictures": len(collection)}


def _start(settings: SdxlUnclipTraining, *, n_features: int) -> Sdxl:
    unet: Any
    unet, vae = load_base(settings.base)
    width = unet.config["addition_time_embed_dim"] or 256
    with process_rng(settings.seed, "attention to tokens"):
        # Height, width, top and left; no text and no target size.
        attend_to(unet, n_features=n_features, vector_width=4 * width)
    if settings.optimizer.checkpointing:
        unet.enable_gradient_checkpointing()
    vae.requires_grad_(requires_grad=False)
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(settings.trained == "all" or ".attn2." in name)
    return Sdxl(unet=unet, vae=vae, size_width=width)


def _images(
    collection: ImageCollection,
    rows: Int[Tensor, " batch"],
    *,
    size: int,
    device: torch.device,
    sdxl: Sdxl | None = None,
) -> tuple[Tensor, Tensor]:
    """Read images in [0, 1] and, for a model, their size vectors."""
    read = [collection.read(row, size=size) for row in rows.tolist()]
    images = to_float(np.stack([image.pixels for image in read])).to(device)
    if sdxl is None:
        return images, torch.empty(0)
    vectors = [sdxl.size_vector(original_size=i.original_size, crop=i.crop) for i in read]
    return images, torch.cat(vectors)
