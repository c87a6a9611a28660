"""Adapters without a source: simulated subjects, and the composed scenes that they are shown."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, UInt8

from mindeye2.core.runtime import progress
from mindeye2.data.scenes import load_photographs, make_scenes, name_lights, scene_kinds
from mindeye2.data.simulated import simulate
from mindeye2.data.source_dataset import SourceDataset
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.stages.prepare.preparation import (
    SceneComposition,
    ScenePreparation,
    SimulatedPreparation,
)

__all__ = ["compose_scenes", "simulate_subjects"]


def simulate_subjects(settings: SimulatedPreparation) -> SourceDataset:
    """Simulate the responses of subjects to composed scenes."""
    scenes = _scenes(settings)
    semantic = _semantic(scenes.images, size=settings.brain_size)
    study = simulate(
        scenes.images, semantic, scenes.split, settings=settings.simulation, seed=settings.seed
    )
    return SourceDataset(
        images=scenes.images,
        captions=scenes.captions,
        categories=scenes.categories,
        kinds=scenes.kinds,
        trials=study.trials,
        betas=study.betas,
        voxels=study.voxels,
        simulated=True,
        label="Simulated data: no subject was scanned. The images are composed of photographs.",
    )


def compose_scenes(settings: ScenePreparation) -> SourceDataset:
    """Compose scenes without subjects."""
    scenes = _scenes(settings)
    return SourceDataset(
        images=scenes.images,
        captions=scenes.captions,
        categories=scenes.categories,
        kinds=scenes.kinds,
        trials=pd.DataFrame(),
        betas={},
        voxels={},
        label="Scenes composed of photographs; no brain data.",
    )


@dataclass(frozen=True)
class _ComposedScenes:
    """Scenes of all splits, with what they show."""

    images: UInt8[np.ndarray, "images height width rgb"]
    captions: list[str]
    categories: list[str]
    kinds: dict[str, list[str]]
    split: list[str]


def _scenes(settings: SceneComposition) -> _ComposedScenes:
    images: list[UInt8[np.ndarray, "_ height width rgb"]] = []
    captions: list[str] = []
    kinds: list[dict[str, str]] = []
    split: list[str] = []
    # Validation scenes use the training photographs, because settings are chosen on them and must
    # not depend on the photographs of the test scenes.
    for name, library, count in (
        ("train", "train", settings.n_train),
        ("validation", "train", settings.n_validation),
        ("test", "test", settings.n_test),
    ):
        if count:
            photographs = load_photographs(split=library)
            composed, texts, scenes = make_scenes(
                count,
                library=photographs,
                seed=settings.seed if name == "train" else settings.seed + 10_000,
                size=settings.scene_size,
            )
            images.append(composed)
            captions += texts
            kinds += [scene_kinds(scene, photographs) for scene in scenes]
            split += [name] * count
    every = np.concatenate(images)
    return _ComposedScenes(
        images=every,
        captions=captions,
        categories=[kind["object"] for kind in kinds],
        kinds={
            "setting": [kind["setting"] for kind in kinds],
            "number": [kind["number"] for kind in kinds],
            "light": name_lights(every),
        },
        split=split,
    )


def _semantic(
    images: UInt8[np.ndarray, "images height width rgb"], *, size: int
) -> Float32[np.ndarray, "images features"]:
    """Return pooled features of EfficientNet-Lite2, which neither trains nor evaluates models."""
    network = LiteFeatures(2, size)
    starts = range(0, len(images), 32)
    with torch.inference_mode():
        features = [
            network.pooled(to_float(images[s : s + 32])).numpy()
            for s in progress(starts, label="features for the simulation")
        ]
    return np.concatenate(features)
