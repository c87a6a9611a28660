"""Frozen image encoders by name: small ones that pip installs, and those of the paper."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from mindeye2.core.errors import ArtifactError, check_choice
from mindeye2.encoders.bank import ImageEncoder
from mindeye2.encoders.clip import load_clip_tokens
from mindeye2.encoders.dinov2 import load_dinov2
from mindeye2.encoders.maps import load_teacher_maps
from mindeye2.encoders.sd_vae import load_sd_latents
from mindeye2.encoders.tokens import Lite0Tokens

__all__ = ["ENCODERS", "load_encoder"]

_FILES = {
    "convnext": "convnext_xlarge",
    "convnext-augmented": "convnext_xlarge",
    "sd-latents": "sd_image_var_autoenc",
}
"""Encoders that need an imported file, each with the published file's name."""


def _lite0(weights: Path | None) -> ImageEncoder:
    if weights is not None:
        raise ValueError("the encoder 'lite0' comes with its own weights: give none.")
    return Lite0Tokens()


def _imported(
    name: str, load: Callable[[Path], ImageEncoder]
) -> Callable[[Path | None], ImageEncoder]:
    def build(weights: Path | None) -> ImageEncoder:
        if weights is None:
            raise ArtifactError(
                f"the encoder {name!r} needs imported weights. Run: mindeye2 import --released "
                f"{_FILES[name]} --out weights/{_FILES[name]}, and name that folder."
            )
        return load(weights)

    return build


ENCODERS: dict[str, Callable[[Path | None], ImageEncoder]] = {
    "lite0": _lite0,
    "bigg": partial(load_clip_tokens, scaling="released"),
    "bigg-clean": partial(load_clip_tokens, scaling="clean"),
    "dinov2-giant": load_dinov2,
    "convnext": _imported("convnext", load_teacher_maps),
    "convnext-augmented": _imported("convnext-augmented", partial(load_teacher_maps, seed=0)),
    "sd-latents": _imported("sd-latents", load_sd_latents),
}
"""Builders by name; each takes a folder of imported weights, or None."""


def load_encoder(name: str, *, weights: Path | None = None) -> ImageEncoder:
    """Load a frozen encoder of `ENCODERS` on the CPU, in evaluation mode.

    `weights` is a folder that ``mindeye2 import`` filled, where the encoder takes one. Raises
    ``ValueError`` if there is no such encoder, ``ArtifactError`` if it needs weights and got none.
    """
    return ENCODERS[check_choice("the encoder", name, ENCODERS)](weights)
