"""Prepare: a source -> one folder with pictures, trials, z-scored betas and target tokens."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from pydantic import Field
from torch import Tensor

from mindeye2.core.artifacts import claim_folder, hash_file, keep_settings
from mindeye2.core.errors import ArtifactError, check_choice
from mindeye2.core.runtime import progress
from mindeye2.core.settings import Settings, plain
from mindeye2.data.betas import Scaler, check_betas, zscore_by_session
from mindeye2.data.compositor import Scene
from mindeye2.data.kriegeskorte92 import Kriegeskorte92Settings, read_kriegeskorte92
from mindeye2.data.prepared import write_prepared
from mindeye2.data.recording import Recording
from mindeye2.data.reliability import ncsnr, noise_ceiling
from mindeye2.data.scenes import make_scenes
from mindeye2.data.simulated import SimulationSettings, simulate
from mindeye2.data.stimuli import StimulusLibrary, load_library
from mindeye2.encoders.bank import fill_bank, to_float
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.encoders.tokens import Lite0Tokens
from mindeye2.generation.decoders import load_autoencoder, shipped_decoder

__all__ = ["KINDS", "PrepareSettings", "prepare"]


class PrepareSettings(Settings):
    """What to prepare."""

    kind: str = "simulated"
    """The adapter, a key of `KINDS`."""

    seed: int = 0
    """Seeds scenes and simulated people."""

    n_train: Annotated[int, Field(ge=1)] = 1400
    """Scenes that training trials may show."""

    n_validation: Annotated[int, Field(ge=0)] = 100
    """Scenes of the validation split."""

    n_test: Annotated[int, Field(ge=0)] = 100
    """Scenes of the test split, of cut-outs and backgrounds that no other scene uses."""

    scene_size: Annotated[int, Field(ge=32)] = 224
    """Side of the scenes in pixels."""

    brain_size: Annotated[int, Field(ge=64)] = 160
    """Side in pixels at which the network sees that stands for higher visual areas."""

    simulation: SimulationSettings = SimulationSettings()
    """The simulated people."""

    kriegeskorte92: Kriegeskorte92Settings = Kriegeskorte92Settings()
    """Splits of the real responses to 92 photographs."""

    encoders: tuple[Literal["lite0"], ...] = ("lite0",)
    """Frozen encoders whose tokens are computed for every picture."""


def prepare(
    settings: PrepareSettings, *, out: Path, source: Path | None = None, resume: bool = False
) -> Path:
    """Fill a folder with a prepared data set.

    Parameters
    ----------
    settings
        What to prepare.
    out
        The folder.
    source
        Where the adapter reads, for those that read anything.
    resume
        Go on with a folder that was begun with the same settings.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    ArtifactError
        If the folder is not empty, was begun with other settings, or the source is unfit.
    ValueError
        If there is no such adapter.
    """
    check_choice("kind", settings.kind, KINDS)
    out = claim_folder(out, resume=resume)
    config = {**plain(settings), "source": str(source) if source else None}
    keep_settings(out, config)
    recording = KINDS[settings.kind](settings, source)
    if not (out / "images.npy").exists():
        # Beside its place first: what an interrupted run left must be whole to be kept.
        np.save(out / ".images.npy", recording.images)
        (out / ".images.npy").replace(out / "images.npy")
    betas, scalers, voxels = {}, {}, {}
    for subject, raw in recording.betas.items():
        trials = recording.trials[recording.trials["subject"] == subject]
        betas[subject], scalers[subject] = _scale(recording, raw, trials, subject=subject)
        voxels[subject] = _with_ceiling(recording.voxels[subject], betas[subject], trials)
    for name in settings.encoders:
        encoder = Lite0Tokens()
        fill_bank(
            out / "targets", images=recording.images, encode=encoder, name=name, key=encoder.key
        )
    if recording.betas:
        _fill_lowlevel(out / "targets", recording.images)
    return write_prepared(
        out,
        trials=recording.trials,
        captions=recording.captions,
        categories=recording.categories,
        betas=betas,
        voxels=voxels,
        scalers=scalers,
        config=config,
        label=recording.label,
        **recording.facts,
    )


def _fill_lowlevel(folder: Path, images: UInt8[np.ndarray, "images height width rgb"]) -> None:
    """Compute what the low-level head predicts: the shipped autoencoder's latents."""
    autoencoder = load_autoencoder(shipped_decoder())

    def encode(pictures: Float[Tensor, "batch rgb height width"]) -> Tensor:
        side = (autoencoder.size, autoencoder.size)
        return autoencoder.encode(F.interpolate(pictures, side, mode="area"))

    weights = shipped_decoder() / "autoencoder.safetensors"
    fill_bank(folder, images=images, encode=encode, name="lowlevel", key=hash_file(weights))


def _simulated(settings: PrepareSettings, _: Path | None) -> Recording:
    images, captions, categories, split = _scenes(settings)
    semantic = _semantic(images, size=settings.brain_size)
    study = simulate(images, semantic, split, settings=settings.simulation, seed=settings.seed)
    return Recording(
        images=images,
        captions=captions,
        categories=categories,
        trials=study.trials,
        betas=study.betas,
        voxels=study.voxels,
        label="Simulated brains: no person was scanned. The pictures are composed of photographs.",
    )


def _scenes_only(settings: PrepareSettings, _: Path | None) -> Recording:
    images, captions, categories, _split = _scenes(settings)
    return Recording(
        images=images,
        captions=captions,
        categories=categories,
        trials=pd.DataFrame(),
        betas={},
        voxels={},
        label="Scenes composed of photographs; no brain data.",
    )


def _kriegeskorte92(settings: PrepareSettings, source: Path | None) -> Recording:
    if source is None:
        raise ArtifactError(
            "the kind 'kriegeskorte92' reads a file: give --source kriegeskorte92.npz."
        )
    return read_kriegeskorte92(source, settings=settings.kriegeskorte92)


KINDS: dict[str, Callable[[PrepareSettings, Path | None], Recording]] = {
    "simulated": _simulated,
    "scenes": _scenes_only,
    "kriegeskorte92": _kriegeskorte92,
}
"""Every adapter by the name that the command line knows it under."""


def _scenes(
    settings: PrepareSettings,
) -> tuple[UInt8[np.ndarray, "images height width rgb"], list[str], list[str], list[str]]:
    images, captions, categories, split = [], [], [], []
    # Validation scenes use the training photographs: they choose settings, and must not teach
    # anything about the photographs that the test is made of.
    for name, library, count in (
        ("train", "train", settings.n_train),
        ("validation", "train", settings.n_validation),
        ("test", "test", settings.n_test),
    ):
        if count:
            photographs = load_library(split=library)
            pictures, texts, scenes = make_scenes(
                count,
                library=photographs,
                seed=settings.seed if name == "train" else settings.seed + 10_000,
                size=settings.scene_size,
            )
            images.append(pictures)
            captions += texts
            categories += [_kind(scene, photographs) for scene in scenes]
            split += [name] * count
    return np.concatenate(images), captions, categories, split


def _kind(scene: Scene, photographs: StimulusLibrary) -> str:
    """Return the category of the scene's largest object."""
    largest = max(scene.objects, key=lambda placed: placed.size)
    return photographs.cutouts[largest.index].credit.category


def _semantic(
    images: UInt8[np.ndarray, "images height width rgb"], *, size: int
) -> Float32[np.ndarray, "images features"]:
    """Pooled features of EfficientNet-Lite2, which is neither the target encoder nor the judge."""
    network = LiteFeatures(2, size)
    starts = range(0, len(images), 32)
    with torch.inference_mode():
        features = [
            network.pooled(to_float(images[s : s + 32])).numpy()
            for s in progress(starts, label="features of the simulated brains")
        ]
    return np.concatenate(features)


def _scale(
    recording: Recording,
    raw: Float32[np.ndarray, "trials voxels"],
    trials: pd.DataFrame,
    *,
    subject: str,
) -> tuple[Float32[np.ndarray, "trials voxels"], Scaler]:
    if not recording.zscored:
        return zscore_by_session(raw, trials, subject=subject)
    check_betas(raw, subject=subject)
    n_voxels = raw.shape[1]
    identity = Scaler(
        sessions=np.zeros(1, np.int64),
        mean=np.zeros((1, n_voxels), np.float32),
        std=np.ones((1, n_voxels), np.float32),
        fitted_on=np.zeros(len(raw), bool),
    )
    return raw, identity


def _with_ceiling(
    voxels: pd.DataFrame, betas: Float32[np.ndarray, "trials voxels"], trials: pd.DataFrame
) -> pd.DataFrame:
    """Add reliability from the repeats of training images, where there are any."""
    fitted = (trials["split"] == "train").to_numpy()
    images = trials["image"].to_numpy()[fitted]
    if len(np.unique(images)) == len(images):
        return voxels
    ratio = ncsnr(betas[fitted], images)
    ceilings = {f"noise_ceiling_{n}": noise_ceiling(ratio, n) for n in (1, 3)}
    return voxels.assign(ncsnr_train=ratio, **ceilings)
