"""Settings of reconstruction: images, sampling, networks, sizes."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mindeye2.core.settings import Settings
from mindeye2.generation.captions import GIT
from mindeye2.generation.sd.refine import RefineSettings
from mindeye2.generation.sd.sdxl import SdxlSampling

__all__ = ["NEAREST", "ReconstructSettings"]

NEAREST = "nearest"
"""Value of ``captioner`` that takes the caption of the nearest training image."""


class ReconstructSettings(Settings):
    """Settings of the reconstruct stage."""

    subject: str = "subj08"
    """Subject to decode."""

    ridges: tuple[str, ...] | None = None
    """Names of a published checkpoint's subjects, in its order; by default NSD subjects are
    recognised by their numbers of voxels."""

    split: Literal["train", "validation", "test"] = "test"
    """Split whose images are reconstructed."""

    n_images: Annotated[int, Field(ge=1)] | None = None
    """Number of images, the first of the split; None for all."""

    n_repeats: Annotated[int, Field(ge=1)] | None = None
    """Number of presentations of an image, the first ones; None for all."""

    average: Literal["betas", "outputs"] = "betas"
    """Average betas or model outputs over presentations. The released code averages outputs; with
    a nonlinear backbone, averaging the betas leaves less noise."""

    betas: Literal["measured", "random"] = "measured"
    """What is decoded: the measured betas, or noise with the mean and standard deviation of each
    voxel, which shows what is generated without a brain response."""

    bottleneck: Annotated[int, Field(ge=0)] | None = None
    """Dimensions that the subject's ridge passes on: the first so many principal components of its
    output for training images (BrainBits); 0 passes on their mean, null everything."""

    seed: int = 0
    """Seed of the run; the seed of an image is derived from it and the image's number."""

    prior_steps: Annotated[int, Field(ge=2)] = 20
    """Denoising steps of the prior."""

    prior_samples: Annotated[int, Field(ge=1)] = 4
    """Samples of the prior that are averaged: one is sharpest, many approach the mean."""

    images: bool = True
    """Generate images; false writes tokens only, which suffices for retrieval."""

    ceiling: bool = True
    """Also decode images from the true tokens: the ceiling of the image decoder."""

    captions: bool = True
    """Caption each image, see `captioner`."""

    references: Literal["auto", "scenes", "none"] = "auto"
    """What lends fine detail to the refined image, and tells captions the kinds of things:
    `scenes`, 8,000 composed training scenes that the package ships, for tokens of `lite0`; `none`;
    by default scenes where images or captions are wanted of runs that were trained on composed
    scenes, as the demo's are."""

    lowlevel_weight: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Weight of the low-level image in the blended one (released: 1/4, paper: 1/5)."""

    decoder: Path | None = None
    """Run folder of an image decoder; the shipped one by default. For tokens of ``bigg``, of
    published weights or of a run that was trained on them: the folder of the imported published
    networks (unCLIP, low-level autoencoder, CLIP converter), or of an unCLIP that ``train --recipe
    unclip_sdxl`` trained. Published weights find the networks beside them."""

    sampling: SdxlSampling = SdxlSampling()
    """Sampling of the published unCLIP. This and the next four are for tokens of ``bigg``, and
    refused for others."""

    refine: RefineSettings | None = None
    """Refinement as published; null skips it."""

    captioner: str = GIT
    """GIT, by its name on the hub or a folder; ``nearest`` takes the caption of the nearest
    training image, as for tokens of other encoders."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the published image decoder and base model."""

    offload: bool = False
    """Keep the published networks in main memory while they are not used."""

    size: Annotated[int, Field(ge=16)] | None = None
    """Side in pixels of the images that are written; null keeps the decoder's size."""

    antialias: bool = True
    """Antialias when images are reduced to `size`. The published evaluation did not."""

    n_bank: Annotated[int, Field(ge=2)] = 300
    """Training images that calibrate retrieval, for a model saved without training bank."""

    keep_lowlevel: bool = False
    """Write the predicted low-level latents beside the tokens."""

    batch_size: Annotated[int, Field(ge=1)] = 50
    """Images per batch; changes no result."""
