"""Train the image decoder: the autoencoder, and unCLIP from image tokens to its latents."""

from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import yaml
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor, nn

from mindeye2.core.artifacts import write_text
from mindeye2.core.runtime import generator, process_rng, progress
from mindeye2.core.settings import Settings, plain
from mindeye2.core.tensors import save_tensors
from mindeye2.data.prepared import Prepared
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.generation.autoencoder import Autoencoder, AutoencoderSettings, build_autoencoder
from mindeye2.generation.decoders import load_autoencoder
from mindeye2.generation.unclip import Unclip, UnclipSettings, build_unclip
from mindeye2.training.batches import epoch_rows
from mindeye2.training.distributed import batch_std, current_shard, run_on_rank0
from mindeye2.training.loop import OptimizerSettings, fit
from mindeye2.training.trials import load_targets

__all__ = [
    "AutoencoderTraining",
    "DecoderData",
    "UnclipTraining",
    "save_decoder",
    "train_autoencoder",
    "train_unclip",
]


class AutoencoderTraining(Settings):
    """Training of the autoencoder on the images of a prepared data set."""

    seed: int = 0
    """Seeds weights, batches and noise."""

    model: AutoencoderSettings = AutoencoderSettings()
    """Sizes."""

    batch_size: Annotated[int, Field(ge=1)] = 16
    """Images per step, of all processes together."""

    perceptual_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the difference between EfficientNet-Lite0 features beside the L1 loss."""

    optimizer: OptimizerSettings = OptimizerSettings(
        steps=1800, max_lr=1.5e-3, weight_decay=0.0, ema_decay=0.995
    )
    """Optimiser and schedule."""


class UnclipTraining(Settings):
    """Training of unCLIP on the images and image tokens of a prepared data set."""

    seed: int = 0
    """Seeds weights, batches and noise."""

    encoder: str = "lite0"
    """Encoder of the image tokens."""

    model: UnclipSettings = UnclipSettings()
    """Sizes and schedule."""

    batch_size: Annotated[int, Field(ge=1)] = 32
    """Images per step, of all processes together."""

    optimizer: OptimizerSettings = OptimizerSettings(
        steps=1800, max_lr=8e-4, weight_decay=1e-2, ema_decay=0.997
    )
    """Optimiser and schedule."""


class _AutoencoderStep(nn.Module):
    """L1 and perceptual loss of reconstructed images."""

    whole_batch = True  # divided by the spread of its targets

    def __init__(self, autoencoder: Autoencoder, *, weight: float, size: int) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.features = LiteFeatures(0, size) if weight else None
        self.weight = weight

    def forward(
        self,
        images: Float[Tensor, "batch rgb height width"],
        *,
        noise: Float[Tensor, "batch channels height16 width16"],
    ) -> dict[str, Tensor]:
        decoded = self.autoencoder(images, noise=noise)
        pixels = F.l1_loss(decoded, images)
        if self.features is None:
            return {"loss": pixels, "l1": pixels.detach()}
        blocks = (0, 2, 4)
        with torch.no_grad():
            targets = self.features.blocks_at(images, blocks)
        preds = self.features.blocks_at(decoded.clamp(-0.2, 1.2), blocks)
        # Relative to each map's own spread: blocks differ tenfold in scale.
        gaps = [F.l1_loss(p, t) / batch_std(t) for p, t in zip(preds, targets, strict=True)]
        perceptual = torch.stack(gaps).mean()
        loss = pixels + self.weight * 0.1 * perceptual
        return {"loss": loss, "l1": pixels.detach(), "perceptual": perceptual.detach()}


class DecoderData:
    """Images of a data set at an autoencoder's `size`, and their latents and tokens on request.

    A step takes `batch_size` images, of all processes together.
    """

    def __init__(self, prepared: Prepared, *, size: int, batch_size: int, seed: int) -> None:
        self.shard = current_shard()
        self.shard.check(batch_size)
        self.batch_size = batch_size
        self.seed = seed
        self.images = _resized(prepared, size)

    def rows(self, step: int) -> Tensor:
        """Return the images of one step, of all processes together."""
        return epoch_rows(
            len(self.images), self.batch_size, step, seed=self.seed, stream="pictures"
        )

    @torch.no_grad()
    def latents(self, autoencoder: Autoencoder, *, device: torch.device) -> Tensor:
        """Encode all images; the latents are on the CPU."""
        parts = self.images.split(64)
        return torch.cat(
            [
                autoencoder.encode(p.to(device).float() / 255).cpu()
                for p in progress(parts, label="latents")
            ]
        )


def _resized(prepared: Prepared, size: int) -> UInt8[Tensor, "images rgb height width"]:
    batches = range(0, len(prepared.images), 64)
    resized = [
        F.interpolate(to_float(prepared.images[s : s + 64]), (size, size), mode="area")
        for s in progress(batches, label="images")
    ]
    return (torch.cat(resized) * 255).round().to(torch.uint8)


def train_autoencoder(
    settings: AutoencoderTraining, *, prepared: Prepared, out: Path, device: torch.device
) -> dict[str, object]:
    """Train the autoencoder, write ``autoencoder.safetensors`` (float16), return facts."""
    size = settings.model.size
    data = DecoderData(prepared, size=size, batch_size=settings.batch_size, seed=settings.seed)
    with process_rng(settings.seed, "autoencoder"):
        autoencoder = build_autoencoder(settings.model)
    step_module = _AutoencoderStep(autoencoder, weight=settings.perceptual_weight, size=size)
    # torch's annotations of Module.to lack memory_format.
    step_module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def batch_of(step: int) -> dict[str, object]:
        rows, random = data.rows(step), generator(settings.seed, "autoencoder", step)
        flip = torch.rand(len(rows), generator=random) < 0.5
        latents = (len(rows), settings.model.latent_channels, size // 16, size // 16)
        noise = torch.randn(latents, generator=random)
        images = data.images[data.shard.of(rows)].float() / 255
        images = torch.where(data.shard.of(flip)[:, None, None, None], images.flip(3), images)
        return {
            "images": images.to(device, memory_format=torch.channels_last),
            "noise": data.shard.of(noise),
        }

    fit(
        step_module,
        batch_of,
        settings=settings.optimizer,
        seed=settings.seed,
        folder=out,
        device=device,
        label="autoencoder",
    )
    sample = data.images[:: max(1, len(data.images) // 1024)].float() / 255
    autoencoder.standardise(list(sample.to(device).split(64)))
    run_on_rank0(lambda: _save_autoencoder(out, autoencoder, settings.model))
    return {"parameters": sum(p.numel() for p in autoencoder.parameters())}


def _save_autoencoder(out: Path, autoencoder: Autoencoder, settings: AutoencoderSettings) -> None:
    weights = {k: v.half() for k, v in autoencoder.state_dict().items()}
    save_tensors(weights, out / "autoencoder.safetensors")
    write_text(out / "autoencoder.yaml", yaml.safe_dump(plain(settings)))


def train_unclip(
    settings: UnclipTraining, *, prepared: Prepared, out: Path, init: Path, device: torch.device
) -> dict[str, object]:
    """Train unCLIP on the latents of the autoencoder in `init`; write ``unclip.safetensors``."""
    autoencoder = load_autoencoder(init).to(device)
    data = DecoderData(
        prepared, size=autoencoder.size, batch_size=settings.batch_size, seed=settings.seed
    )
    latents = data.latents(autoencoder, device=device)
    tokens = load_targets(prepared, settings.encoder)
    with process_rng(settings.seed, "unclip"):
        unclip = build_unclip(settings.model, autoencoder)

    def batch_of(step: int) -> dict[str, object]:
        rows = data.rows(step)
        noise = unclip.sample_noise(
            (len(rows), *latents.shape[1:]),
            (len(rows), *tokens.row_shape),
            generator=generator(settings.seed, "unclip", step),
        )
        own = data.shard.of(rows)
        return {
            "latents": latents[own].to(device),
            "tokens": tokens[own].to(device),
            **{name: data.shard.of(values) for name, values in noise.items()},
        }

    fit(
        unclip,
        batch_of,
        settings=settings.optimizer,
        seed=settings.seed,
        folder=out,
        device=device,
        label="unclip",
    )
    run_on_rank0(lambda: save_decoder(out, unclip, autoencoder=init))
    return {"parameters": sum(p.numel() for p in unclip.parameters() if p.requires_grad)}


def save_decoder(
    out: Path, unclip: Unclip, *, autoencoder: Path, sampling_steps: int | None = None
) -> None:
    """Write an image decoder that `mindeye2.generation.decoders.load_unclip_decoder` reads.

    Weights are kept as float16, and the folder `autoencoder` is copied. `sampling_steps` is the
    number of denoising steps, where it differs from the settings.
    """
    weights = {k: v.half() for k, v in unclip.own_state().items()}
    save_tensors(weights, out / "unclip.safetensors")
    settings = unclip.settings
    if sampling_steps is not None:
        settings = settings.model_copy(update={"sampling_steps": sampling_steps})
    write_text(out / "unclip.yaml", yaml.safe_dump(plain(settings)))
    for name in ("autoencoder.safetensors", "autoencoder.yaml"):
        (out / name).write_bytes((autoencoder / name).read_bytes())
