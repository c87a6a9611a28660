"""Steps of several stages that analyses run, because stages do not import each other."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from mindeye2.api import Decoder
from mindeye2.core.artifacts import resolve_path
from mindeye2.core.settings import build_settings
from mindeye2.recipes import adapt, ridge
from mindeye2.released import open_brain_decoder
from mindeye2.released.folder import open_pipeline
from mindeye2.stages.analyse import Decoding, Point, Steps
from mindeye2.stages.evaluate import EvaluateSettings, evaluate
from mindeye2.stages.reconstruct import ReconstructSettings, reconstruct
from mindeye2.stages.train import train

__all__ = ["STEPS"]


def decode(
    decoding: Decoding,
    betas: Float[np.ndarray, "images voxels"],
    *,
    seed: int,
    device: torch.device,
) -> tuple[UInt8[np.ndarray, "images height width rgb"], list[str] | None]:
    """Generate images and captions for betas, as those of the reconstruction were."""
    config = dict(decoding.manifest["config"])
    known = {k: v for k, v in config.items() if k in ReconstructSettings.model_fields}
    settings = build_settings(ReconstructSettings, known)
    used: dict[str, Any] = {"seed": seed, "images": True, "ceiling": False}
    if settings.decoder is not None:
        used["decoder"] = resolve_path(str(settings.decoder), folder=decoding.folder)
    settings = settings.model_copy(update=used)
    pipeline = open_pipeline(decoding.run, settings=settings, device=device)
    pipeline.load()
    with warnings.catch_warnings():
        # Betas that are 0 outside one region are not z-scored, and are meant so.
        warnings.filterwarnings("ignore", message="betas have mean")
        found = Decoder(pipeline, settings=settings).decode(
            betas, subject=decoding.subject, seed=seed
        )
    return found.images, found.captions


def fit_and_score(point: Point, device: str) -> Path:
    """Train on the first trials of a subject, decode the test images and score them.

    Finished stages in the point's folder are kept. Returns the folder of the scores.
    """
    run, decoded, scores = (point.out / name for name in ("run", "decoded", "scores"))
    if not (run / "manifest.json").exists():
        settings = (
            ridge().model_copy(update={"subjects": (point.subject,), "n_trials": point.n_trials})
            if point.init is None
            else adapt().model_copy(update={"subject": point.subject, "n_trials": point.n_trials})
        )
        train(
            settings,
            source=point.data,
            out=run,
            init=point.init,
            recipe="ridge" if point.init is None else "adapt",
            resume=True,
            device=device,
            load_init=open_brain_decoder,
        )
    decoding = ReconstructSettings(
        subject=point.subject, images=point.images, captions=False, ceiling=False
    )
    reconstruct(decoding, source=point.data, init=run, out=decoded, resume=True, device=device)
    return evaluate(
        EvaluateSettings(), source=decoded, out=scores, resume=True, device=device
    ).parent


STEPS = Steps(load_run=open_brain_decoder, decode=decode, fit_and_score=fit_and_score)
"""Steps that ``mindeye2 analyse`` gives to the stage."""
