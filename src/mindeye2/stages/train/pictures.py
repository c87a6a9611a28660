"""Training of what draws pictures: the autoencoder, and unCLIP from tokens to its latents."""

from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import yaml
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor, nn

from mindeye2.core.artifacts import write_text
from mindeye2.core.processes import WHOLE, Share, batch_std, on_main, own_share
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
from mindeye2.training.loop import OptimizerSettings, fit

__all__ = [
    "AutoencoderTraining",
    "UnclipTraining",
    "latents_of",
    "pictures_of",
    "save_decoder",
    "train_autoencoder",
    "train_unclip",
]


class AutoencoderTraining(Settings):
    """Training of the autoencoder on the pictures of a prepared data set."""

    seed: int = 0
    """Seeds weights, batches and noise."""

    model: AutoencoderSettings = AutoencoderSettings()
    """Sizes."""

    batch_size: Annotated[int, Field(ge=1)] = 16
    """Pictures a step, of all processes together."""

    perceptual_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the difference between EfficientNet-Lite0 features beside the L1 loss."""

    optimizer: OptimizerSettings = OptimizerSettings(
        steps=1800, max_lr=1.5e-3, weight_decay=0.0, ema_decay=0.995
    )
    """Optimiser and schedule."""


class UnclipTraining(Settings):
    """Training of unCLIP on the pictures and tokens of a prepared data set."""

    seed: int = 0
    """Seeds weights, batches and noise."""

    encoder: str = "lite0"
    """Whose tokens to draw from."""

    model: UnclipSettings = UnclipSettings()
    """Sizes and schedule."""

    batch_size: Annotated[int, Field(ge=1)] = 32
    """Pictures a step, of all processes together."""

    optimizer: OptimizerSettings = OptimizerSettings(
        steps=1800, max_lr=8e-4, weight_decay=1e-2, ema_decay=0.997
    )
    """Optimiser and schedule."""


class _AutoencoderStep(nn.Module):
    def __init__(self, autoencoder: Autoencoder, *, weight: float, size: int) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.judge = LiteFeatures(0, size) if weight else None
        self.weight = weight

    def forward(
        self,
        images: Float[Tensor, "batch rgb height width"],
        *,
        generator: torch.Generator,
        share: Share = WHOLE,
    ) -> dict[str, Tensor]:
        drawn = self.autoencoder(images, generator=generator, share=share)
        pixels = F.l1_loss(drawn, images)
        if self.judge is None:
            return {"loss": pixels, "l1": pixels.detach()}
        blocks = (0, 2, 4)
        with torch.no_grad():
            true = self.judge.blocks_at(images, blocks)
        seen = self.judge.blocks_at(drawn.clamp(-0.2, 1.2), blocks)
        # Relative to each map's own spread: blocks differ tenfold in scale.
        gap = [F.l1_loss(s, t) / batch_std(t, share) for s, t in zip(seen, true, strict=True)]
        perceptual = torch.stack(gap).mean()
        loss = pixels + self.weight * 0.1 * perceptual
        return {"loss": loss, "l1": pixels.detach(), "perceptual": perceptual.detach()}


def pictures_of(prepared: Prepared, size: int) -> UInt8[Tensor, "images rgb height width"]:
    """Return all pictures of a data set at a decoder's size.

    Parameters
    ----------
    prepared
        The data set.
    size
        Side in pixels.

    Returns
    -------
    Tensor
        8 bits a number.
    """
    batches = range(0, len(prepared.images), 64)
    shrunk = [
        F.interpolate(to_float(prepared.images[s : s + 64]), (size, size), mode="area")
        for s in progress(batches, label="pictures")
    ]
    return (torch.cat(shrunk) * 255).round().to(torch.uint8)


def latents_of(
    pictures: UInt8[Tensor, "images rgb height width"],
    autoencoder: Autoencoder,
    *,
    device: torch.device,
) -> Float[Tensor, "images channels height16 width16"]:
    """Return the latents of many pictures.

    Parameters
    ----------
    pictures
        8 bits a number.
    autoencoder
        On `device`.
    device
        Where to encode.

    Returns
    -------
    Tensor
        On the CPU.
    """
    with torch.no_grad():
        parts = [
            autoencoder.encode(p.to(device).float() / 255).cpu()
            for p in progress(pictures.split(64), label="latents")
        ]
    return torch.cat(parts)


def train_autoencoder(
    settings: AutoencoderTraining, *, prepared: Prepared, out: Path, device: torch.device
) -> dict[str, object]:
    """Train the autoencoder and write ``autoencoder.safetensors`` (float16).

    Parameters
    ----------
    settings
        What to train.
    prepared
        Its pictures are used.
    out
        Run folder.
    device
        Where to train.

    Returns
    -------
    dict
        Facts for the manifest.
    """
    share = own_share()
    share.check(settings.batch_size, rows="pictures")
    pictures = pictures_of(prepared, settings.model.size)
    with process_rng(settings.seed, "autoencoder"):
        autoencoder = build_autoencoder(settings.model)
    step_module = _AutoencoderStep(
        autoencoder, weight=settings.perceptual_weight, size=settings.model.size
    )
    # torch's annotations of Module.to lack memory_format.
    step_module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def batch_of(step: int) -> dict[str, object]:
        rows = epoch_rows(
            len(pictures), settings.batch_size, step, seed=settings.seed, stream="pictures"
        )
        draws = generator(settings.seed, "autoencoder", step)
        images = pictures[share.of(rows)].float() / 255
        flip = share.of(torch.rand(len(rows), generator=draws)) < 0.5
        images = torch.where(flip[:, None, None, None], images.flip(3), images)
        images = images.to(device, memory_format=torch.channels_last)
        return {"images": images, "generator": draws, "share": share}

    fit(
        step_module,
        batch_of,
        settings=settings.optimizer,
        seed=settings.seed,
        folder=out,
        device=device,
        label="autoencoder",
    )
    sample = pictures[:: max(1, len(pictures) // 1024)].float() / 255
    autoencoder.standardise(list(sample.to(device).split(64)))
    on_main(lambda: _save_autoencoder(out, autoencoder, settings.model))
    return {"parameters": sum(p.numel() for p in autoencoder.parameters())}


def _save_autoencoder(out: Path, autoencoder: Autoencoder, settings: AutoencoderSettings) -> None:
    weights = {k: v.half() for k, v in autoencoder.state_dict().items()}
    save_tensors(weights, out / "autoencoder.safetensors")
    write_text(out / "autoencoder.yaml", yaml.safe_dump(plain(settings)))


def train_unclip(
    settings: UnclipTraining,
    *,
    prepared: Prepared,
    out: Path,
    init: Path,
    device: torch.device,
) -> dict[str, object]:
    """Train unCLIP to draw an autoencoder's latents from tokens; write ``unclip.safetensors``.

    Parameters
    ----------
    settings
        What to train.
    prepared
        Its pictures and target tokens are used.
    out
        Run folder.
    init
        Run folder of the autoencoder.
    device
        Where to train.

    Returns
    -------
    dict
        Facts for the manifest.
    """
    share = own_share()
    share.check(settings.batch_size, rows="pictures")
    autoencoder = load_autoencoder(init).to(device)
    pictures = pictures_of(prepared, autoencoder.size)
    latents = latents_of(pictures, autoencoder, device=device)
    tokens = prepared.targets(settings.encoder)
    with process_rng(settings.seed, "unclip"):
        unclip = build_unclip(settings.model, autoencoder)

    def batch_of(step: int) -> dict[str, object]:
        rows = epoch_rows(
            len(latents), settings.batch_size, step, seed=settings.seed, stream="pictures"
        )
        rows = share.of(rows)
        return {
            "latents": latents[rows].to(device),
            "tokens": torch.from_numpy(tokens[rows.numpy()]).float().to(device),
            "generator": generator(settings.seed, "unclip", step),
            "share": share,
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
    on_main(lambda: save_decoder(out, unclip, autoencoder=init))
    return {"parameters": sum(p.numel() for p in unclip.parameters() if p.requires_grad)}


def save_decoder(
    out: Path, unclip: Unclip, *, autoencoder: Path, sampling_steps: int | None = None
) -> None:
    """Write an image decoder that `mindeye2.generation.decoders.load_unclip_decoder` reads.

    Parameters
    ----------
    out
        Run folder.
    unclip
        The weights; kept as float16.
    autoencoder
        Folder of its autoencoder, which is copied.
    sampling_steps
        Steps of one picture, where they differ from what the settings say.
    """
    weights = {k: v.half() for k, v in unclip.own_state().items()}
    save_tensors(weights, out / "unclip.safetensors")
    settings = unclip.settings
    if sampling_steps is not None:
        settings = settings.model_copy(update={"sampling_steps": sampling_steps})
    write_text(out / "unclip.yaml", yaml.safe_dump(plain(settings)))
    for name in ("autoencoder.safetensors", "autoencoder.yaml"):
        (out / name).write_bytes((autoencoder / name).read_bytes())
