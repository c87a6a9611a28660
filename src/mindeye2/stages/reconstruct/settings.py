"""What to reconstruct, and how."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mindeye2.core.settings import Settings
from mindeye2.generation.captions import GIT
from mindeye2.generation.sd.pipeline import SdxlSampling
from mindeye2.generation.sd.refine import RefineSettings

__all__ = ["ReconstructSettings"]


class ReconstructSettings(Settings):
    """What to reconstruct, and how."""

    subject: str = "subj08"
    """Whose brain."""

    ridges: tuple[str, ...] | None = None
    """Names of a published checkpoint's subjects, in its order; NSD's are told from their numbers
    of voxels."""

    split: Literal["train", "validation", "test"] = "test"
    """Which images."""

    n_images: Annotated[int, Field(ge=1)] | None = None
    """Only the first so many images; None for all of the split."""

    n_repeats: Annotated[int, Field(ge=1)] | None = None
    """Presentations of an image to use, the first ones; None for all there are."""

    average: Literal["betas", "outputs"] = "betas"
    """What is averaged over presentations. The released code averages the outputs of single-trial
    passes; for a body that is not linear, averaging the betas leaves less noise."""

    seed: int = 0
    """The seed of an image is drawn from this and the image's number."""

    prior_steps: Annotated[int, Field(ge=2)] = 20
    """Denoising steps of the prior."""

    prior_samples: Annotated[int, Field(ge=1)] = 4
    """Samples of the prior that are averaged: one is sharpest, many come near the mean."""

    pictures: bool = True
    """Draw pictures; off, only tokens are written, which suffices for retrieval."""

    ceiling: bool = True
    """Draw pictures from the true tokens as well, which says what the image decoder can do."""

    captions: bool = True
    """Describe each image: with a run by the caption of the nearest training image, with published
    weights in words of its own."""

    lowlevel_share: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of the low-level image in the blended one (released: 1/4, paper: 1/5)."""

    decoder: Path | None = None
    """Run folder of an image decoder; the shipped one by default. For published weights, the
    folder that the published unCLIP was imported into, where it is not with the others."""

    sampling: SdxlSampling = SdxlSampling()
    """How the published unCLIP draws."""

    refine: RefineSettings | None = None
    """How the published pipeline refines what it has drawn; null does not."""

    captioner: str = GIT
    """The captioner of the published pipeline: a name on the hub or a folder."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the published image decoder and base model."""

    offload: bool = False
    """Keep the published networks in main memory while they are not used."""

    size: Annotated[int, Field(ge=16)] | None = None
    """Side in pixels at which pictures are kept; null as they were drawn."""

    antialias: bool = True
    """Smooth when shrinking to `size`. The published evaluation did not."""

    n_bank: Annotated[int, Field(ge=2)] = 300
    """Training images that calibrate retrieval, where the model remembers none."""

    keep_lowlevel: bool = False
    """Keep the predicted low-level latents beside the tokens."""

    batch_size: Annotated[int, Field(ge=1)] = 50
    """Images at a time; changes no result."""
