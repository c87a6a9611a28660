"""Catalogue of the metrics that `evaluate` reports: titles, explanations and chance levels."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["IMAGES", "METRICS", "Metric"]


@dataclass(frozen=True)
class Metric:
    """Title, explanation and chance level of a metric, as tables show them."""

    title: str
    """Name in tables."""

    group: str
    """Heading in tables."""

    chance: Callable[[int], float] | None
    """Chance level among n images; None where there is no exact one."""

    explanation: str
    """One sentence on how it is computed."""

    percent: bool = True
    """Written as a percentage."""


def _two_way(_: int) -> float:
    return 0.5


def _top(k: int) -> Callable[[int], float]:
    return lambda n: min(1.0, k / n)


IMAGES = {
    "unclip": "unCLIP image",
    "refined": "refined image",
    "blended": "blended image",
    "lowlevel": "low-level image",
    "ceiling": "image from the true tokens",
    "floor": "mean training image",
}
"""Files of reconstructions, and the floor that is computed here: label."""

METRICS: dict[str, Metric] = {
    "image_top1": Metric(
        "Image given brain, top-1",
        "Retrieval",
        _top(1),
        "Gallery tokens passed through the forward model, mean-centred, with CSLS from training "
        "images.",
    ),
    "image_top5": Metric(
        "Image given brain, top-5",
        "Retrieval",
        _top(5),
        "As top-1; the seen image is among the five best.",
    ),
    "brain_top1": Metric(
        "Brain given image, top-1",
        "Retrieval",
        _top(1),
        "True tokens, mean-centred, with CSLS from training images. Papers report this direction "
        "as 'image'.",
    ),
    "image_top1_no_forward_model": Metric(
        "Image given brain, top-1, no forward model",
        "Retrieval",
        _top(1),
        "True tokens as gallery, mean-centred, with CSLS from training images.",
    ),
    "image_top1_raw": Metric(
        "Image given brain, top-1, raw cosine",
        "Retrieval",
        _top(1),
        "Cosine of backbone tokens with true tokens, neither centred nor scaled.",
    ),
    "brain_top1_raw": Metric(
        "Brain given image, top-1, raw cosine",
        "Retrieval",
        _top(1),
        "Cosine of backbone tokens with true tokens, neither centred nor scaled.",
    ),
    "image_top1_retrieval_head": Metric(
        "Image given brain, top-1, retrieval head",
        "Retrieval",
        _top(1),
        "Raw cosine of the retrieval head's tokens with true tokens, as published. Papers report "
        "this direction as 'brain'.",
    ),
    "brain_top1_retrieval_head": Metric(
        "Brain given image, top-1, retrieval head",
        "Retrieval",
        _top(1),
        "Raw cosine of the retrieval head's tokens with true tokens, as published. Papers report "
        "this direction as 'image'.",
    ),
    "two_way_tokens": Metric(
        "Two-way identification, backbone tokens",
        "Identification",
        _two_way,
        "Fraction of distractor images whose tokens correlate less with the mean-centred backbone "
        "tokens than those of the seen image.",
    ),
    "two_way_prior": Metric(
        "Two-way identification, prior tokens",
        "Identification",
        _two_way,
        "The same for samples of the diffusion prior.",
    ),
    "category": Metric(
        "Category of the main object",
        "Captions",
        None,
        "Fraction of images whose nearest training image shows a main object of the same category "
        "(animal, food, tool, ...).",
    ),
    "caption": Metric(
        "Words shared with the true caption",
        "Captions",
        None,
        "F1 of the sets of content words. Training captions need not name the test objects.",
    ),
    "caption_meaning": Metric(
        "Sentence similarity with the true caption",
        "Captions",
        None,
        "Cosine of the sentence embeddings of the decoded and the true caption.",
        percent=False,
    ),
    **{
        f"{key}_{name}": Metric(f"{title}, {label}", "Images", chance, text, percent)
        for name, label in IMAGES.items()
        for key, title, chance, text, percent in (
            ("pixcorr", "PixCorr", None, "Pixel correlation with the seen image.", False),
            ("ssim", "SSIM", None, "Structural similarity with the seen image.", False),
            (
                "two_way",
                "Two-way identification by EfficientNet-Lite1",
                _two_way,
                "Fraction of distractor images whose features correlate less with the "
                "reconstruction than those of the seen image.",
                True,
            ),
        )
        if not (name == "floor" and key == "two_way")
    },
}
"""Metric by its name in files."""
