"""Settings of the evaluate stage: protocol, networks, captions, resampling."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mindeye2.core.settings import Settings

__all__ = ["EvaluateSettings"]


class EvaluateSettings(Settings):
    """Settings of the stage ``evaluate``."""

    protocol: Literal[
        "laptop", "v1", "mindeye2-2024", "mindeye2-2024-first-caption", "mindeye1-982"
    ] = "laptop"
    """What is scored, and how: see the page Evaluation. Scores of two protocols are not
    comparable."""

    seed: int = 0
    """Seeds the bootstrap."""

    n_resamples: Annotated[int, Field(ge=100)] = 10_000
    """Bootstrap resamples of the images for the 95 % intervals."""

    extractor_size: Annotated[int, Field(ge=64)] = 240
    """Side in pixels of the input of the laptop protocol's feature extractor, EfficientNet-Lite1.
    It is used nowhere else: target tokens come from Lite0, simulated responses from Lite2."""

    sentence_encoder: str | None = None
    """Sentence encoder of the laptop protocol, which compares captions by meaning: a folder, or a
    name on the hub such as sentence-transformers/all-MiniLM-L6-v2 (91 MB, Apache-2.0), which is
    then downloaded. None scores shared words only."""

    networks: Path | None = None
    """Folder of the weights of the other protocols' networks, under their published names; caches
    of PyTorch and of the hub are read too. Scores of missing
    networks are left out and listed."""

    download: bool = False
    """Download the networks that are missing; address, size and licence of each are printed
    first."""

    references: Path | None = None
    """Reconstructions whose ``mindeye2 import`` found the published reference captions and GIT's
    captions of the seen images (``all_captions.pt``, ``all_git_generated_captions.pt``); by
    default the scored folder itself."""

    top_k: tuple[Annotated[int, Field(ge=1)], ...] = (1, 5)
    """Numbers of best images that count as found, in the variants of retrieval."""

    pools: tuple[Annotated[int, Field(ge=2)], ...] = ()
    """Sizes of smaller galleries to score too: the exact expectation over all random samples. The
    whole gallery is always scored."""

    gallery: Path | None = None
    """Prepared data set whose images are added to the gallery as distractors, with targets of the
    same encoder. They are read in blocks, so that all 73,000 images of NSD need no memory. If it
    holds images of training, the page says so: scores among them are biased."""

    gallery_encoder: str | None = None
    """Encoder in whose space the gallery is ranked too, e.g. dinov2-giant; the data set was
    prepared with it. Predicted tokens are mapped there by a ridge that was fitted on the true
    tokens of training images."""

    battery: bool = False
    """Also score controls that separate the brain's part of a score from the generator's: nearest
    training images, betas shuffled over images, random betas, bottlenecks, clusters of images,
    copies, dimensions. See the page Evaluation."""

    battery_images: Annotated[int, Field(ge=2)] = 100
    """Test images of the battery, the first ones: each of its controls that needs the model
    reconstructs them anew."""

    bottlenecks: tuple[Annotated[int, Field(ge=0)], ...] = (1, 4, 16, 64)
    """Dimensions of the battery's bottlenecks; each reconstructs anew."""

    batch_size: Annotated[int, Field(ge=1)] = 50
    """Images per batch of the networks; changes no result."""
