"""Catalogue of the metrics that `evaluate` reports: titles, explanations and chance levels."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mindeye2.metrics.protocols import REGIONS

__all__ = ["CAPTION_SCORES", "IMAGES", "METRICS", "POOL", "Metric", "image_files"]

POOL = 300
"""Images of the published retrieval's gallery."""


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

    higher_is_better: bool = True
    """False for distances."""


_PARTS = {
    "object": "the main object",
    "number": "the number of objects",
    "setting": "the setting",
    "light": "the light",
}
"""What captions name."""


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

CAPTION_SCORES = {
    "meteor": ("METEOR", "By nltk: words, stems and synonyms of WordNet."),
    "rouge1": ("ROUGE-1", "F1 of shared words."),
    "rougeL": ("ROUGE-L", "F1 of the longest common subsequence of words."),
    "sentence": ("Sentence similarity", "Cosine of MiniLM's sentence embeddings."),
    "clip_b": ("CLIP-B text similarity", "Cosine of the text embeddings of CLIP ViT-B/32."),
    "clip_l": ("CLIP-L text similarity", "Cosine of the text embeddings of CLIP ViT-L/14."),
}
"""Published caption score: title and explanation."""

_COMPARISONS = {
    "coco": ("decoded against reference caption", "Captions against references"),
    "git": ("decoded against GIT's caption of the seen image", "Captions against GIT"),
    "git_coco": ("GIT's caption of the seen image against reference", "GIT against references"),
}
"""Captions that are compared: what, and heading."""

_NETWORKS = {
    "alexnet2": "AlexNet(2)",
    "alexnet5": "AlexNet(5)",
    "inception": "Inception",
    "clip": "CLIP",
    "effnet": "EffNet-B",
    "swav": "SwAV",
}
"""Networks of the published image scores: name in the paper's tables."""


def _pool(n: int) -> float:
    return 1 / min(n, POOL)


_PUBLISHED: dict[str, Metric] = {
    "brain_given_image_300": Metric(
        "Image retrieval (published name): brain given image, top-1 of 300",
        "Retrieval, published",
        _pool,
        "Raw cosine of the retrieval head's tokens with true tokens; each image ranks the brain "
        "samples. The exact expectation over galleries of 300 (of all, where there are fewer), "
        "which the published mean over 30 samples estimates.",
    ),
    "image_given_brain_300": Metric(
        "Brain retrieval (published name): image given brain, top-1 of 300",
        "Retrieval, published",
        _pool,
        "The same in the direction of decoding: each brain sample ranks the images.",
    ),
    **{
        f"umap_{name}": Metric(
            f"UMAP distance, {label}",
            "UMAP",
            None,
            "Mean distance of predicted and true tokens in a UMAP that was fitted on both.",
            percent=False,
            higher_is_better=False,
        )
        for name, label in (
            ("retrieval", "retrieval head"),
            ("backbone", "backbone"),
            ("prior", "prior"),
        )
    },
    **{
        f"{name}_{which}": Metric(f"{title}, {label}", group, None, text, percent=False)
        for which, (label, group) in _COMPARISONS.items()
        for name, (title, text) in CAPTION_SCORES.items()
    },
    **{
        f"{network}_{name}": Metric(
            f"{title}, {label}",
            "Images",
            None if network in ("effnet", "swav") else _two_way,
            "Correlation distance of its features from those of the seen image."
            if network in ("effnet", "swav")
            else "Two-way identification by its features.",
            percent=network not in ("effnet", "swav"),
            higher_is_better=network not in ("effnet", "swav"),
        )
        for name, label in IMAGES.items()
        if name != "floor"
        for network, title in _NETWORKS.items()
    },
    **{
        f"brain_correlation_{region}_{name}": Metric(
            f"Brain correlation, {region_title}, {label}",
            "Brain correlation",
            None,
            "Correlation over voxels of the responses that GNet predicts for the reconstruction "
            "with the measured ones.",
            percent=False,
        )
        for name, label in IMAGES.items()
        if name != "floor"
        for region, region_title in REGIONS.items()
    },
}

METRICS: dict[str, Metric] = {
    "known_image": Metric(
        "Known image identified, trials averaged",
        "Known images",
        None,
        "The seen image is the nearest of all images that were trained on; the test trials of an "
        "image are averaged. Interval: binomial.",
    ),
    "known_image_single": Metric(
        "Known image identified, single trials",
        "Known images",
        None,
        "The same from each test trial by itself. Interval: binomial over trials.",
    ),
    "image_top1": Metric(
        "Image given brain, top-1",
        "Retrieval",
        _top(1),
        "Gallery tokens passed through the forward model, both sides whitened by the errors of "
        "decoding, mean-centred, with CSLS from training images.",
    ),
    "image_top5": Metric(
        "Image given brain, top-5",
        "Retrieval",
        _top(5),
        "As top-1; the seen image is among the five best.",
    ),
    "image_two_way": Metric(
        "Image given brain, two-way",
        "Retrieval",
        _two_way,
        "As top-1; fraction of other images that score less than the seen one.",
    ),
    "brain_top1": Metric(
        "Brain given image, top-1",
        "Retrieval",
        _top(1),
        "Compared as for image given brain. Papers report this direction as 'image'.",
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
    "repeat_top1": Metric(
        "Response found by its other presentations, top-1",
        "Reliability of the responses",
        _top(1),
        "No decoder: the mean response to every second presentation of an image is compared with "
        "the means of the others, by correlation over all voxels. Low where responses are noisy.",
    ),
    "repeat_two_way": Metric(
        "Response found by its other presentations, two-way",
        "Reliability of the responses",
        _two_way,
        "The same against one other image. Each half has half of the presentations, so that a "
        "decoder that averages all of them can score higher.",
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
    **{
        name: Metric(title, "Captions", None, text)
        for part, label in _PARTS.items()
        for name, title, text in (
            (
                f"{part}_kind",
                f"Captions: {label}",
                f"Fraction of images for which the most probable kind of {label} is right, named "
                "or not; chance is the kind of a random training image.",
            ),
            (
                f"{part}_named",
                f"Captions that name {label}",
                f"Fraction of captions that say what {label} is like, because it is more likely "
                "than not; captions.json says how often it is then right.",
            ),
        )
    },
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
    **_PUBLISHED,
}
"""Metric by its name in files."""


def image_files(folder: Path) -> dict[str, Path]:
    """Return the files of reconstructed images in a folder, by the keys of `IMAGES`."""
    paths = {name: folder / f"{name}.npy" for name in IMAGES}
    return {name: path for name, path in paths.items() if path.exists()}
