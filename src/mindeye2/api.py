"""Three-line use of a trained model."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from mindeye2.core.errors import check_choice
from mindeye2.core.runtime import choose_device
from mindeye2.encoders.bank import to_float
from mindeye2.generation.captions import nearest_captions
from mindeye2.metrics.retrieval import fit_calibration, similarity
from mindeye2.recipes import released
from mindeye2.released.folder import ReleasedPipeline, locate
from mindeye2.stages.reconstruct import Pipeline, ReconstructSettings, RunPipeline
from mindeye2.stages.reconstruct.inference import Predictions, generate, image_seeds, predict
from mindeye2.training.trials import SubjectTrials

__all__ = ["Decoded", "Decoder", "Retrieved"]


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
    pipeline
        Brain decoder, image decoder, captioner and refiner.
    settings
        How to average, sample, decode and refine.
    """

    def __init__(self, pipeline: Pipeline, *, settings: ReconstructSettings) -> None:
        self._pipeline = pipeline
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
        settings = ReconstructSettings(decoder=None if decoder is None else Path(decoder))
        pipeline = RunPipeline(Path(folder), settings=settings, device=choose_device(device))
        return cls(pipeline, settings=settings)

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
        pipeline = ReleasedPipeline(
            locate(name_or_folder), settings=settings, device=choose_device(device)
        )
        return cls(pipeline, settings=settings)

    @property
    def subjects(self) -> list[str]:
        """Names of the subjects that can be decoded."""
        return self._pipeline.model.subjects

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
        return self._predictions(betas, subject).backbone

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
        predictions = self._predictions(betas, subject)
        seeds = image_seeds(predictions.images, seed)
        captions = self._nearest_captions(predictions, subject) if settings.captions else None
        batches = list(
            generate(
                self._pipeline, predictions, seeds=seeds, settings=settings, captions=captions
            )
        )
        images = {n: np.concatenate([b.images[n] for b in batches]) for n in batches[0].images}
        return Decoded(
            images=next(images[n] for n in ("blended", "refined", "unclip") if n in images),
            lowlevel=images.get("lowlevel"),
            captions=[c for b in batches for c in b.captions or []] or None,
            tokens=torch.cat([b.prior for b in batches]),
            seeds=seeds,
        )

    def _nearest_captions(self, predictions: Predictions, subject: str) -> list[str] | None:
        bank = self._pipeline.training_bank(subject)
        if bank is None or bank.captions is None:
            return None
        gallery = self._pipeline.forward_model(bank.true)
        calibration = fit_calibration(bank.predicted, gallery)
        return nearest_captions(
            similarity(predictions.backbone, gallery, calibration), bank.captions
        )

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
        encoded = [
            self._pipeline.encode(to_float(gallery[s : s + 32]))
            for s in range(0, len(gallery), 32)
        ]
        tokens = self._pipeline.forward_model(torch.cat(encoded))
        bank = self._pipeline.training_bank(subject)
        if bank is None:
            near = similarity(self._predictions(betas, subject).retrieval, tokens)
        else:
            calibration = fit_calibration(bank.predicted, self._pipeline.forward_model(bank.true))
            near = similarity(self.predict(betas, subject=subject), tokens, calibration)
        scores, indices = near.topk(k, dim=1)
        return Retrieved(indices=indices.numpy(), scores=scores.numpy())

    def _predictions(self, betas: np.ndarray | Tensor, subject: str) -> Predictions:
        check_choice("subject", subject, self.subjects)
        return predict(
            self._pipeline.model,
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
