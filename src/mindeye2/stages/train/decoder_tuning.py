"""Fine-tune a trained unCLIP in one sampling step, with a perceptual loss.

The mean squared error of latents teaches layout and colour; its reconstructions are soft. Here the
U-Net takes the one step that the sampler will take, the autoencoder decodes the result, and the
U-Net learns from features of the decoded image (one-step training with a perceptual loss, after
Lin & Yang 2024, arXiv:2401.00110, and Sauer et al. 2023, arXiv:2311.17042). The autoencoder stays
frozen: trained along, it learns a texture that pleases the features.
"""

from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mindeye2.core.runtime import generator
from mindeye2.core.settings import Settings
from mindeye2.data.prepared import Prepared
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.generation.decoders import load_unclip_decoder
from mindeye2.generation.unclip import Unclip
from mindeye2.stages.train.image_decoder import DecoderData, save_decoder
from mindeye2.training.distributed import batch_std, run_on_rank0
from mindeye2.training.loop import OptimizerSettings, fit
from mindeye2.training.trials import load_targets

__all__ = ["DecoderTuning", "tune_decoder"]

_BLOCKS = (2, 4, 10, 15)
"""Blocks of EfficientNet-Lite0 whose maps are compared, from texture to objects."""


class DecoderTuning(Settings):
    """Fine-tuning of unCLIP on decoded images."""

    seed: int = 0
    """Seeds batches and noise."""

    encoder: str = "lite0"
    """Encoder of the image tokens."""

    batch_size: Annotated[int, Field(ge=2)] = 12
    """Images per step, of all processes together."""

    feature_size: Annotated[int, Field(ge=32)] = 192
    """Side in pixels at which crops of the images are compared."""

    smallest_crop: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Smallest side of a crop, as a fraction of the image's: at changing positions and scales no
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
    """Losses of images decoded in one step from noise."""

    whole_batch = True  # divided by the spread of its targets

    def __init__(self, unclip: Unclip, settings: DecoderTuning) -> None:
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
        noise: Float[Tensor, "batch channels height16 width16"],
        token_noise: Float[Tensor, "batch tokens features"],
        crop: tuple[float, float, float],
    ) -> dict[str, Tensor]:
        last = torch.full((len(images),), self.unclip.n_levels - 1, device=tokens.device)
        noisy = tokens + token_noise.to(tokens)
        predicted = self.unclip.predict(noise.to(latents), last, noisy)
        decoded = self.unclip.autoencoder.decode(predicted, clamped=False)
        rows, columns = self._crop(images.shape[-1], crop)
        with torch.no_grad():
            targets = self.features(images[..., rows, columns], _BLOCKS)
        preds = self.features(decoded[..., rows, columns].clamp(-0.2, 1.2), _BLOCKS)
        gaps = [
            F.l1_loss(preds.maps[b], targets.maps[b]) / batch_std(targets.maps[b]) for b in _BLOCKS
        ]
        spread = batch_std(targets.pooled)
        terms = {
            "latents": F.mse_loss(predicted, latents),
            "l1": F.l1_loss(decoded, images),
            "maps": torch.stack(gaps).mean(),
            "pooled": F.mse_loss(preds.pooled, targets.pooled) / spread.square(),
        }
        weights = {"maps": self.settings.map_weight, "pooled": self.settings.pooled_weight}
        loss = torch.stack([weights.get(name, 1.0) * term for name, term in terms.items()]).sum()
        return {"loss": loss, **{name: term.detach() for name, term in terms.items()}}

    def _crop(self, size: int, crop: tuple[float, float, float]) -> tuple[slice, slice]:
        scale, top, left = crop
        smallest = self.settings.smallest_crop
        side = round(size * (smallest + scale * (1 - smallest)))
        first, second = round(top * (size - side)), round(left * (size - side))
        return slice(first, first + side), slice(second, second + side)


def tune_decoder(
    settings: DecoderTuning, *, prepared: Prepared, out: Path, init: Path, device: torch.device
) -> dict[str, object]:
    """Fine-tune the image decoder in `init`, write ``unclip.safetensors``, return facts."""
    unclip = load_unclip_decoder(init).to(device)
    data = DecoderData(
        prepared, size=unclip.autoencoder.size, batch_size=settings.batch_size, seed=settings.seed
    )
    latents = data.latents(unclip.autoencoder, device=device)
    tokens = load_targets(prepared, settings.encoder)
    for part in (unclip.unet, unclip.shortcut):
        if part is not None:
            part.requires_grad_(requires_grad=True)

    def batch_of(step: int) -> dict[str, object]:
        rows, random = data.rows(step), generator(settings.seed, "picture_tuning", step)
        noise = torch.randn((len(rows), *latents.shape[1:]), generator=random)
        token_shape = (len(rows), *tokens.row_shape)
        token_noise = unclip.sample_token_noise(token_shape, generator=random)
        own = data.shard.of(rows)
        return {
            "images": data.images[own].to(device).float() / 255,
            "latents": latents[own].to(device),
            "tokens": tokens[own].to(device),
            "noise": data.shard.of(noise),
            "token_noise": data.shard.of(token_noise),
            "crop": tuple(torch.rand(3, generator=random).tolist()),
        }

    fit(
        _TuningStep(unclip, settings),
        batch_of,
        settings=settings.optimizer,
        seed=settings.seed,
        folder=out,
        device=device,
        label="decoder tuning",
    )
    run_on_rank0(lambda: save_decoder(out, unclip, sampling_steps=1, autoencoder=init))
    return {"parameters": sum(p.numel() for p in unclip.parameters() if p.requires_grad)}
