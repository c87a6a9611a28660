"""Fine-tuning of a trained unCLIP for what is seen: one step from noise, judged by features.

Mean squared error of latents teaches where things are and which colour they have; what it gives
is soft. Here the U-Net takes the one step that the sampler will take, the autoencoder draws the
result, and the U-Net learns from features of the drawn picture (one-step training with a
perceptual loss, after Lin & Yang 2024, arXiv:2401.00110, and Sauer et al. 2023, arXiv:2311.17042).
The autoencoder stays as it is: trained along, it learns a texture that pleases the features and
looks like wallpaper.
"""

from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mindeye2.core.processes import (
    WHOLE,
    Share,
    batch_std,
    batch_variance,
    on_main,
    own_share,
)
from mindeye2.core.runtime import generator
from mindeye2.core.settings import Settings
from mindeye2.data.prepared import Prepared
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.generation.decoders import load_unclip_decoder
from mindeye2.generation.unclip import Unclip
from mindeye2.stages.train.pictures import latents_of, pictures_of, save_decoder
from mindeye2.training.batches import epoch_rows
from mindeye2.training.loop import OptimizerSettings, fit

__all__ = ["PictureTuning", "tune_pictures"]

_BLOCKS = (2, 4, 10, 15)
"""Blocks of EfficientNet-Lite0 whose maps are compared, from texture to objects."""


class PictureTuning(Settings):
    """Fine-tuning of unCLIP on drawn pictures."""

    seed: int = 0
    """Seeds batches and noise."""

    encoder: str = "lite0"
    """Whose tokens to draw from."""

    batch_size: Annotated[int, Field(ge=2)] = 12
    """Pictures a step, of all processes together."""

    feature_size: Annotated[int, Field(ge=32)] = 192
    """Side in pixels at which crops of the pictures are compared."""

    smallest_crop: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Smallest side of a crop, as a share of the picture's: at changing places and scales no
    texture can be learned that pleases the features at one."""

    map_weight: Annotated[float, Field(ge=0)] = 0.6
    """Weight of the difference between feature maps, relative to their spread."""

    pooled_weight: Annotated[float, Field(ge=0)] = 0.6
    """Weight of the squared difference between pooled features, relative to their variance."""

    optimizer: OptimizerSettings = OptimizerSettings(
        steps=5000, max_lr=1.5e-4, warmup=0.05, weight_decay=1e-2, ema_decay=0.998
    )
    """Optimiser and schedule."""


class _TuningStep(nn.Module):
    def __init__(self, unclip: Unclip, settings: PictureTuning) -> None:
        super().__init__()
        self.unclip = unclip
        self.settings = settings
        self.features = LiteFeatures(0, settings.feature_size)

    def forward(
        self,
        images: Float[Tensor, "batch rgb height width"],
        latents: Float[Tensor, "batch channels height16 width16"],
        tokens: Float[Tensor, "batch tokens features"],
        *,
        generator: torch.Generator,
        share: Share = WHOLE,
    ) -> dict[str, Tensor]:
        shape = (share.count * len(latents), *latents.shape[1:])
        noise = share.of(torch.randn(shape, generator=generator)).to(latents)
        last = torch.full((len(images),), self.unclip.n_levels - 1, device=tokens.device)
        noisy = self.unclip.noisy(tokens, generator, share=share)
        predicted = self.unclip.predict(noise, last, noisy)
        drawn = self.unclip.autoencoder.decode(predicted, clamped=False)
        rows, columns = self._crop(images.shape[-1], generator)
        with torch.no_grad():
            true = self.features(images[..., rows, columns], _BLOCKS)
        seen = self.features(drawn[..., rows, columns].clamp(-0.2, 1.2), _BLOCKS)
        spreads = [batch_std(true.maps[b], share) for b in _BLOCKS]
        gaps = [
            F.l1_loss(seen.maps[b], true.maps[b]) / s
            for b, s in zip(_BLOCKS, spreads, strict=True)
        ]
        parts = {
            "latents": F.mse_loss(predicted, latents),
            "l1": F.l1_loss(drawn, images),
            "maps": torch.stack(gaps).mean(),
            "pooled": F.mse_loss(seen.pooled, true.pooled) / batch_variance(true.pooled, share),
        }
        weights = {"maps": self.settings.map_weight, "pooled": self.settings.pooled_weight}
        loss = torch.stack([weights.get(name, 1.0) * part for name, part in parts.items()]).sum()
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def _crop(self, size: int, generator: torch.Generator) -> tuple[slice, slice]:
        share, top, left = torch.rand(3, generator=generator).tolist()
        smallest = self.settings.smallest_crop
        side = round(size * (smallest + share * (1 - smallest)))
        first, second = round(top * (size - side)), round(left * (size - side))
        return slice(first, first + side), slice(second, second + side)


def tune_pictures(
    settings: PictureTuning, *, prepared: Prepared, out: Path, init: Path, device: torch.device
) -> dict[str, object]:
    """Fine-tune an image decoder; write ``unclip.safetensors``.

    Parameters
    ----------
    settings
        What to train.
    prepared
        Its pictures and target tokens are used.
    out
        Run folder.
    init
        Run folder of the unCLIP to start from.
    device
        Where to train.

    Returns
    -------
    dict
        Facts for the manifest.
    """
    share = own_share()
    share.check(settings.batch_size, rows="pictures")
    unclip = load_unclip_decoder(init).to(device)
    pictures = pictures_of(prepared, unclip.autoencoder.size)
    latents = latents_of(pictures, unclip.autoencoder, device=device)
    tokens = prepared.targets(settings.encoder)
    for part in (unclip.unet, unclip.shortcut):
        if part is not None:
            part.requires_grad_(requires_grad=True)

    def batch_of(step: int) -> dict[str, object]:
        rows = epoch_rows(
            len(pictures), settings.batch_size, step, seed=settings.seed, stream="pictures"
        )
        rows = share.of(rows)
        return {
            "images": pictures[rows].to(device).float() / 255,
            "latents": latents[rows].to(device),
            "tokens": torch.from_numpy(tokens[rows.numpy()]).float().to(device),
            "generator": generator(settings.seed, "picture_tuning", step),
            "share": share,
        }

    fit(
        _TuningStep(unclip, settings),
        batch_of,
        settings=settings.optimizer,
        seed=settings.seed,
        folder=out,
        device=device,
        label="pictures",
    )
    on_main(lambda: save_decoder(out, unclip, sampling_steps=1, autoencoder=init))
    return {"parameters": sum(p.numel() for p in unclip.parameters() if p.requires_grad)}
