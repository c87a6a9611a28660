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
from mindeye2.core.runtime import choose_device, generator, peak_memory_gib
from mindeye2.core.settings import load_settings
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.tokens import Lite0Tokens
from mindeye2.generation.blend import blend
from mindeye2.generation.captions import nearest_captions
from mindeye2.generation.decoders import load_unclip_decoder
from mindeye2.generation.retrieval import fit_calibration, similarity
from mindeye2.models.checkpoint import LoadedRun, load_run
from mindeye2.models.expectation import load_expectation
from mindeye2.models.memory import load_memory
from mindeye2.recipes import DemoSettings
from mindeye2.stages.evaluate import evaluate
from mindeye2.stages.prepare import prepare
from mindeye2.stages.reconstruct import ReconstructSettings, reconstruct
from mindeye2.stages.report import ReportSettings, report
from mindeye2.stages.train import TrainSettings, train

__all__ = ["Decoded", "Decoder", "Retrieved", "demo"]


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What was decoded, one row per image."""

    images: UInt8[np.ndarray, "images height width rgb"]
    """Blended pictures, RGB."""

    lowlevel: UInt8[np.ndarray, "images height width rgb"] | None
    """Low-level images."""

    captions: list[str] | None
    """Captions of the nearest training images, where the run has captions."""

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
    """A trained brain model with its image decoder; see `from_run`.

    Parameters
    ----------
    folder
        Run folder of the brain model.
    run
        Its model.
    decoder
        Run folder of the image decoder; the shipped one by default.
    device
        Where to compute.
    """

    def __init__(
        self, folder: Path, run: LoadedRun, *, decoder: Path | None, device: torch.device
    ) -> None:
        self._folder = folder
        self._run = run
        self._model = run.model.to(device)
        self._pictures = load_unclip_decoder(decoder).to(device)
        self._device = device
        self._expect = load_expectation(folder) or (lambda tokens: tokens)

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
        folder = Path(folder)
        chosen = None if decoder is None else Path(decoder)
        return cls(folder, load_run(folder), decoder=chosen, device=choose_device(device))

    @property
    def subjects(self) -> list[str]:
        """Names of the subjects that can be decoded."""
        return self._model.subjects

    @torch.no_grad()
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
        averaged = self._averaged(betas, subject)
        tokens: Tensor = self._model(averaged, subject=subject).backbone_tokens
        return tokens.cpu()

    @torch.no_grad()
    def decode(
        self, betas: np.ndarray | Tensor, *, subject: str, seed: int = 0, prior_samples: int = 4
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
            Samples of the prior that are averaged.

        Returns
        -------
        Decoded
            Pictures, captions and tokens.
        """
        out = self._model(self._averaged(betas, subject), subject=subject)
        backbone = out.backbone_tokens
        lots = [generator(seed, "image", i) for i in range(len(backbone))]
        seeds = [int(torch.randint(2**31, (), generator=lot)) for lot in lots]
        draws = [generator(s, "prior", device=self._device) for s in seeds]
        samples = [
            self._model.prior.sample(backbone, steps=20, generator=draws)
            for _ in range(prior_samples)
        ]
        tokens = torch.stack(samples).mean(dim=0)
        pictures, lowlevel = self._pictures.decode(tokens, seeds=seeds), None
        if out.lowlevel_latents is not None:
            lowlevel = self._pictures.autoencoder.decode(out.lowlevel_latents)
            pictures = blend(pictures, lowlevel)
        memory = load_memory(self._folder, subject)
        captions = None
        if memory.captions is not None:
            known = self._expect(memory.true)
            calibration = fit_calibration(memory.predicted, known)
            near = similarity(backbone.cpu(), known, calibration)
            captions = nearest_captions(near, memory.captions)
        return Decoded(
            images=_to_uint8(pictures),
            lowlevel=None if lowlevel is None else _to_uint8(lowlevel),
            captions=captions,
            tokens=tokens.cpu(),
            seeds=seeds,
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
            If `k` is out of range.
        """
        if not 1 <= k <= len(gallery):
            raise ValueError(f"k must be between 1 and the gallery's {len(gallery)}, got {k}.")
        encode = Lite0Tokens()
        parts = [encode(to_float(gallery[s : s + 32])) for s in range(0, len(gallery), 32)]
        memory = load_memory(self._folder, subject)
        calibration = fit_calibration(memory.predicted, self._expect(memory.true))
        candidates = self._expect(torch.cat(parts))
        near = similarity(self.predict(betas, subject=subject), candidates, calibration)
        scores, indices = near.topk(k, dim=1)
        return Retrieved(indices=indices.numpy(), scores=scores.numpy())

    def _averaged(self, betas: np.ndarray | Tensor, subject: str) -> Tensor:
        check_choice("subject", subject, self.subjects)
        given = torch.as_tensor(np.asarray(betas, dtype=np.float32))
        if given.ndim == 3:
            missing = given.isnan().all(dim=2, keepdim=True)
            if missing.all(dim=1).any():
                row = int(missing.all(dim=1).flatten().nonzero()[0])
                raise ValueError(f"image {row} of the betas has no repeat: all are NaN. Drop it.")
            present = torch.where(missing, torch.zeros(()), given)
            given = present.sum(dim=1) / (~missing).sum(dim=1)
        if given.ndim != 2:
            raise ValueError(
                "betas must be (images, voxels) or (images, repeats, voxels), "
                f"got shape {tuple(given.shape)}."
            )
        return given.to(self._device)


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
        title="What eight people saw, and what was decoded",
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
        print(f"{out.name} ...", flush=True)
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


def _to_uint8(
    pictures: Float[Tensor, "images rgb height width"],
) -> UInt8[np.ndarray, "images height width rgb"]:
    return (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
