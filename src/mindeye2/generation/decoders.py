"""Image decoders at laptop size, loaded from disk: shipped or of a training run."""

from importlib import resources
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import build_settings
from mindeye2.generation.autoencoder import Autoencoder, AutoencoderSettings, build_autoencoder
from mindeye2.generation.unclip import Unclip, UnclipSettings, build_unclip

__all__ = ["load_autoencoder", "load_unclip_decoder", "shipped_decoder"]


def shipped_decoder() -> Path:
    """Return the folder of the image decoder that is shipped with the package."""
    return Path(str(resources.files("mindeye2") / "assets" / "decoder"))


def load_autoencoder(folder: Path) -> Autoencoder:
    """Load a frozen autoencoder in float32 from the run folder of its training or of a decoder."""
    settings = build_settings(AutoencoderSettings, _settings(folder, "autoencoder"))
    autoencoder = build_autoencoder(settings)
    autoencoder.load_state_dict(_weights(folder, "autoencoder"))
    # torch's annotations of Module.to lack memory_format.
    autoencoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return autoencoder.eval().requires_grad_(requires_grad=False)


def load_unclip_decoder(folder: Path | None = None) -> Unclip:
    """Load an image decoder in float32 and eval mode: of a run folder, or the shipped one.

    Raises ``ArtifactError`` if weights or settings are missing.
    """
    folder = shipped_decoder() if folder is None else folder
    settings = build_settings(UnclipSettings, _settings(folder, "unclip"))
    unclip = build_unclip(settings, load_autoencoder(folder))
    unclip.load_own_state(_weights(folder, "unclip"))
    return unclip.eval().requires_grad_(requires_grad=False)


def _settings(folder: Path, name: str) -> dict[str, object]:
    path = folder / f"{name}.yaml"
    if not path.exists():
        raise ArtifactError(
            f"{folder} holds no {name} ({path.name} is missing). Give the run folder of a "
            f"finished 'mindeye2 train --recipe {name}'."
        )
    values: dict[str, object] = yaml.safe_load(path.read_text())
    return values


def _weights(folder: Path, name: str) -> dict[str, Tensor]:
    path = folder / f"{name}.safetensors"
    if not path.exists():
        raise ArtifactError(
            f"{path} is missing: the training of the {name} did not finish there. "
            "Run it again with --resume."
        )
    return {key: value.float() for key, value in load_file(path).items()}
