"""Three-line use of a trained model, and the demo."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mindeye2.core.artifacts import claim_folder, write_json
from mindeye2.core.errors import check_choice
from mindeye2.core.runtime import choose_device, peak_memory_gib
from mindeye2.core.settings import load_settings
from mindeye2.encoders.bank import to_float
from mindeye2.generation.captions import nearest_captions
from mindeye2.metrics.retrieval import fit_calibration, similarity
from mindeye2.recipes import DemoSettings, released
from mindeye2.released.folder import ReleasedParts, locate
from mindeye2.stages.evaluate import evaluate
from mindeye2.stages.prepare import prepare
from mindeye2.stages.reconstruct import Parts, ReconstructSettings, RunParts, reconstruct
from mindeye2.stages.reconstruct.passes import (
    Predicted,
    draw,
    image_seeds,
    predict,
    sample_prior,
)
from mindeye2.stages.report import ReportSettings, report
from mindeye2.stages.train import TrainSettings, train
from mindeye2.training.trials import SubjectTrials

__all__ = ["Decoded", "Decoder", "Retrieved", "demo"]


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What was decoded, one row per image."""

    images: UInt8[np.ndarray, "images height width rgb"]
    """Blended pictures, RGB; without low-level image as refined or drawn."""

    lowlevel: UInt8[np.ndarray, "images height2 width2 rgb"] | None
    """Low-level images."""

    captions: list[str] | None
    """Captions: of the nearest training images, where a run has some, or written by GIT."""

    tokens: Float[Tensor, "images tokens features"]
    """Image tokens from the prior, from which the pictures were drawn."""

    seeds: list[int]
    """The seed of each picture."""


@dataclass(frozen=True, kw_only=True)
class Retrieved:
    """The best candidates of a gallery for each image, best first."""

    indices: np.ndarray
    """(images, k): positions in the gallery."""

    scores: np.ndarray
    """(images, k): calibrated similarity, higher is better; comparable within a row."""


class Decoder:
    """A trained brain model with its image decoder; see `from_run` and `from_released`.

    Parameters
    ----------
    parts
        The model, and what draws and describes.
    settings
        How to average, sample, draw and refine.
    """

    def __init__(self, parts: Parts, *, settings: ReconstructSettings) -> None:
        self._parts = parts
        self._settings = settings

    @classmethod
    def from_run(
        cls, folder: str | Path, *, decoder: str | Path | None = None, device: str = "auto"
    ) -> "Decoder":
        """Load a run that ``mindeye2 train`` finished.

        Parameters
        ----------
        folder
            Run folder.
        decoder
            Run folder of an image decoder; the shipped one by default.
        device
            ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

        Returns
        -------
        Decoder
            Ready to decode.

        Raises
        ------
        ArtifactError
            If the run is unfinished or trained something else.
        """
        chosen = None if decoder is None else Path(decoder)
        parts = RunParts(Path(folder), decoder=chosen, device=choose_device(device))
        return cls(parts, settings=ReconstructSettings(decoder=chosen))

    @classmethod
    def from_released(
        cls,
        name_or_folder: str | Path,
        *,
        settings: ReconstructSettings | None = None,
        device: str = "auto",
    ) -> "Decoder":
        """Load published weights that ``mindeye2 import`` wrote, to be used as published.

        Parameters
        ----------
        name_or_folder
            Folder of the imported brain model, beside which unCLIP, low-level autoencoder and
            CLIP converter may lie; or one that holds the folders of all of them; or the published
            name of a brain model that was imported into ``weights/<name>``.
        settings
            How to decode; `mindeye2.recipes.released` by default.
        device
            Where to compute.

        Returns
        -------
        Decoder
            Ready to decode; networks are loaded when they are first used.

        Raises
        ------
        ArtifactError
            If there is no such folder, or it holds no brain model; for a published name with the
            command that gets it.
        """
        settings = released() if settings is None else settings
        place = choose_device(device)
        parts = ReleasedParts(locate(name_or_folder), settings=settings, device=place)
        return cls(parts, settings=settings)

    @property
    def subjects(self) -> list[str]:
        """Names of the subjects that can be decoded."""
        return self._parts.model.subjects

    def predict(
        self, betas: np.ndarray | Tensor, *, subject: str
    ) -> Float[Tensor, "images tokens features"]:
        """Predict image tokens by regression, without the prior.

        Parameters
        ----------
        betas
            Z-scored responses: (images, voxels), or (images, repeats, voxels) with any number of
            repeats, NaN where one is missing.
        subject
            Whose brain.

        Returns
        -------
        Tensor
            Backbone tokens.

        Raises
        ------
        ValueError
            If the subject is unknown, or the betas have another shape or hold NaN where no repeat
            is missing.
        """
        return self._seen(betas, subject).backbone

    def decode(
        self,
        betas: np.ndarray | Tensor,
        *,
        subject: str,
        seed: int = 0,
        prior_samples: int | None = None,
    ) -> Decoded:
        """Reconstruct and describe what was seen.

        Parameters
        ----------
        betas
            As for `predict`.
        subject
            Whose brain.
        seed
            The seed of image i is drawn from this and i.
        prior_samples
            Samples of the prior that are averaged: 4 for a run, 1 for published weights.

        Returns
        -------
        Decoded
            Pictures, captions and tokens.
        """
        settings = self._settings
        if prior_samples is not None:
            settings = settings.model_copy(update={"prior_samples": prior_samples})
        seen = self._seen(betas, subject)
        seeds = image_seeds(seen.images, seed)
        tokens = sample_prior(self._parts.model, seen.backbone, seeds=seeds, settings=settings)
        captions = self._captions(seen, tokens, subject) if settings.captions else None
        drawn = draw(
            self._parts,
            tokens,
            lowlevel=seen.lowlevel,
            captions=captions,
            seeds=seeds,
            settings=settings,
        )
        best = next(n for n in ("blended", "refined", "unclip") if n in drawn)
        return Decoded(
            images=drawn[best],
            lowlevel=drawn.get("lowlevel"),
            captions=captions,
            tokens=tokens,
            seeds=seeds,
        )

    def _captions(self, seen: Predicted, tokens: Tensor, subject: str) -> list[str] | None:
        if self._parts.captioner is not None:
            size = self._settings.batch_size
            return [c for part in tokens.split(size) for c in self._parts.captioner(part)]
        memory = self._parts.memory(subject)
        if memory is None or memory.captions is None:
            return None
        known = self._parts.expect(memory.true)
        calibration = fit_calibration(memory.predicted, known)
        return nearest_captions(similarity(seen.backbone, known, calibration), memory.captions)

    @torch.no_grad()
    def retrieve(
        self,
        betas: np.ndarray | Tensor,
        *,
        gallery: UInt8[np.ndarray, "gallery height width rgb"],
        subject: str,
        k: int = 5,
    ) -> Retrieved:
        """Find what was seen among candidate pictures.

        A run compares calibrated backbone tokens; published weights, as published, the tokens of
        the retrieval head by plain cosine.

        Parameters
        ----------
        betas
            As for `predict`.
        gallery
            Candidate pictures, RGB, 0 to 255.
        subject
            Whose brain.
        k
            Candidates to return, at most the size of the gallery.

        Returns
        -------
        Retrieved
            Best candidates first.

        Raises
        ------
        ValueError
            If `k` is out of range, or the gallery holds no RGB pictures of 8 bits.
        """
        shape, dtype = np.shape(gallery), getattr(gallery, "dtype", None)
        if len(shape) != 4 or shape[-1] != 3 or dtype != np.uint8:
            raise ValueError(
                "gallery must be (images, height, width, 3) uint8, RGB from 0 to 255, "
                f"got shape {shape} of {dtype}."
            )
        if not 1 <= k <= len(gallery):
            raise ValueError(f"k must be between 1 and the gallery's {len(gallery)}, got {k}.")
        parts = [
            self._parts.encode(to_float(gallery[s : s + 32])) for s in range(0, len(gallery), 32)
        ]
        candidates = self._parts.expect(torch.cat(parts))
        memory = self._parts.memory(subject)
        if memory is None:
            near = similarity(self._seen(betas, subject).retrieval, candidates)
        else:
            calibration = fit_calibration(memory.predicted, self._parts.expect(memory.true))
            near = similarity(self.predict(betas, subject=subject), candidates, calibration)
        scores, indices = near.topk(k, dim=1)
        return Retrieved(indices=indices.numpy(), scores=scores.numpy())

    def _seen(self, betas: np.ndarray | Tensor, subject: str) -> Predicted:
        check_choice("subject", subject, self.subjects)
        return predict(
            self._parts.model,
            _trials(betas),
            subject=subject,
            average=self._settings.average,
            batch_size=self._settings.batch_size,
        )


def _trials(betas: np.ndarray | Tensor) -> SubjectTrials:
    """Lay out presentations one under the other, without those that are missing."""
    given = torch.as_tensor(np.asarray(betas, dtype=np.float32))
    if given.ndim == 2:
        given = given[:, None]
    elif given.ndim == 3:
        missing = given.isnan().all(dim=2)
        if missing.all(dim=1).any():
            row = int(missing.all(dim=1).nonzero()[0])
            raise ValueError(f"image {row} of the betas has no repeat: all are NaN. Drop it.")
    if given.ndim != 3:
        raise ValueError(
            "betas must be (images, voxels) or (images, repeats, voxels), "
            f"got shape {tuple(given.shape)}."
        )
    there = ~given.isnan().all(dim=2) if given.shape[1] > 1 else torch.ones(given.shape[:2]).bool()
    images = torch.arange(len(given))[:, None].expand(given.shape[:2])[there]
    return SubjectTrials(betas=given[there], images=images, sessions=torch.zeros_like(images))


def demo(
    out: Path,
    *,
    config: Path | None = None,
    assignments: Sequence[str] = (),
    resume: bool = False,
    device: str = "auto",
) -> Path:
    """Run the whole pipeline on simulated people and return the page it made.

    Parameters
    ----------
    out
        Folder to fill, a folder per stage.
    config
        YAML file of `DemoSettings` that differ.
    assignments
        ``key.path=value`` on top.
    resume
        Go on with a demo that was stopped; finished stages are not run again.
    device
        Where to compute.

    Returns
    -------
    Path
        ``index.html``.

    Raises
    ------
    ArtifactError
        If the folder is not empty and `resume` is off.
    """
    settings = load_settings(DemoSettings(), file=config, assignments=assignments)
    out = claim_folder(out, resume=resume)
    s, costs = settings, _Costs(out / "costs.json")
    data = costs.run(out / "data", lambda o: prepare(s.data, out=o, resume=resume))

    def fit(chosen: TrainSettings, name: str, init: Path | None = None) -> Path:
        return costs.run(
            out / name,
            lambda o: train(
                chosen, source=data, out=o, init=init, recipe=name, resume=resume, device=device
            ),
        )

    def decode(chosen: ReconstructSettings, name: str, run: Path) -> Path:
        return costs.run(
            out / f"{name}-decoded",
            lambda o: reconstruct(
                chosen, source=data, init=run, out=o, resume=resume, device=device
            ),
        )

    def score(name: str, decoded: Path) -> Path:
        return costs.run(
            out / f"{name}-scores",
            lambda o: evaluate(s.evaluate, source=decoded, out=o, resume=resume),
        )

    pretrained = fit(s.pretrain, "pretrained")
    arms = {
        "adapted": fit(s.adapt, "adapted", pretrained),
        "scratch": fit(s.scratch, "scratch"),
        "ridge": fit(s.ridge, "ridge"),
    }
    for name, run in arms.items():
        chosen = s.reconstruct.model_copy(update={"pictures": name == "adapted"})
        score(name, decode(chosen, name, run))
    page = ReportSettings(
        title="What one of eight people saw, and what was decoded",
        compare={"scratch": out / "scratch-scores", "ridge": out / "ridge-scores"},
        curves={
            "pretraining": pretrained,
            "adaptation": arms["adapted"],
            "scratch": arms["scratch"],
        },
        costs=out / "costs.json",
    )
    scores = out / "adapted-scores"
    costs.run(out / "report", lambda o: report(page, source=scores, out=o, resume=resume))
    return out / "report" / "index.html"


_N_STAGES = 12
"""Stages of the demo: data, four trainings, two for each of three arms, the page."""


class _Costs:
    """Runs stages that are not finished yet, and keeps what each cost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # A resumed demo keeps what its finished stages cost.
        self.stages: list[dict[str, object]] = (
            json.loads(path.read_text()) if path.exists() else []
        )

    def run(self, out: Path, stage: Callable[[Path], Path]) -> Path:
        if (out / "manifest.json").exists():
            return out
        began = time.monotonic()
        print(f"{len(self.stages) + 1} of {_N_STAGES}: {out.name} ...", flush=True)
        stage(out)
        cost = {
            "stage": out.name,
            "seconds": round(time.monotonic() - began, 1),
            "peak_memory_gib": round(peak_memory_gib(), 2),
        }
        print(f"{out.name}: {cost['seconds']} s", flush=True)
        self.stages.append(cost)
        write_json(self.path, self.stages)
        return out
