"""Evaluate: reconstructions -> one number per image and metric, with intervals and chance."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor

from mindeye2.core.artifacts import claim_folder, read_manifest, write_json, write_manifest
from mindeye2.core.runtime import generator, peak_memory_gib, progress
from mindeye2.core.settings import Settings, plain
from mindeye2.data.prepared import Prepared, open_prepared
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.encoders.sentences import load_sentences
from mindeye2.metrics import (
    bootstrap_interval,
    content_word_overlap,
    match_ranks,
    pixcorr,
    sentence_similarity,
    ssim,
    top_k_hits,
    two_way_identification,
)
from mindeye2.metrics.retrieval import check_gallery, fit_calibration, similarity

__all__ = ["METRICS", "EvaluateSettings", "evaluate"]


class EvaluateSettings(Settings):
    """What to score."""

    seed: int = 0
    """Seeds the bootstrap."""

    n_resamples: Annotated[int, Field(ge=100)] = 10_000
    """Resamples of the images for the 95 % intervals."""

    judge_size: Annotated[int, Field(ge=64)] = 240
    """Side in pixels at which the judge, EfficientNet-Lite1, sees pictures. It trained nothing
    here: the tokens are Lite0's, the simulated brains Lite2's."""

    sentence_encoder: str | None = None
    """Encoder that compares captions by what they say: a folder, or a name on the hub such as
    sentence-transformers/all-MiniLM-L6-v2 (91 MB, Apache-2.0), which is then downloaded. Not
    scored by default: a word in common with the true caption is."""


@dataclass(frozen=True)
class Metric:
    """What a table needs to know of a metric."""

    title: str
    """Name as shown."""

    group: str
    """Heading in tables."""

    chance: Callable[[int], float] | None
    """What guessing gives among n images."""

    explanation: str
    """One sentence in plain words."""

    percent: bool = True
    """Written as a percentage."""


def _half(_: int) -> float:
    return 0.5


def _one(n: int) -> float:
    return 1 / n


def _five(n: int) -> float:
    return min(1.0, 5 / n)


_PICTURES = {
    "unclip": "unCLIP picture",
    "blended": "blended picture",
    "lowlevel": "low-level image",
    "ceiling": "picture from the true tokens",
    "floor": "mean training picture",
}

METRICS: dict[str, Metric] = {
    "image_top1": Metric(
        "Image given brain, top-1",
        "Retrieval",
        _one,
        "Candidates as brains make them, training mean removed, CSLS from the training bank.",
    ),
    "image_top5": Metric("Image given brain, top-5", "Retrieval", _five, "Calibrated."),
    "brain_top1": Metric(
        "Brain given image, top-1",
        "Retrieval",
        _one,
        "Calibrated; the direction that papers report as 'image'.",
    ),
    "image_top1_unexpected": Metric(
        "Image given brain, top-1, true tokens as gallery",
        "Retrieval",
        _one,
        "Calibrated, without what pretraining knows of brains.",
    ),
    "image_top1_raw": Metric(
        "Image given brain, top-1, raw cosine",
        "Retrieval",
        _one,
        "Nothing removed, as published code does it.",
    ),
    "brain_top1_raw": Metric(
        "Brain given image, top-1, raw cosine", "Retrieval", _one, "Nothing removed."
    ),
    "image_top1_projected": Metric(
        "Image given brain, top-1, retrieval head",
        "Retrieval",
        _one,
        "Raw cosine of the retrieval head's tokens, centred.",
    ),
    "two_way_tokens": Metric(
        "Two-way identification, predicted tokens",
        "Identification",
        _half,
        "Share of wrong images that fit worse than the right one; training mean removed.",
    ),
    "two_way_prior": Metric(
        "Two-way identification, prior tokens",
        "Identification",
        _half,
        "The same for samples of the diffusion prior.",
    ),
    "category": Metric(
        "Kind of thing named",
        "Captions",
        None,
        "The nearest caption's main object is of the seen one's kind (animal, food, tool, ...).",
    ),
    "caption": Metric(
        "Words shared with the true caption",
        "Captions",
        None,
        "F1 of content words; test objects are of kinds that training captions need not name.",
    ),
    "caption_meaning": Metric(
        "Meaning of the caption",
        "Captions",
        None,
        "Cosine of sentence embeddings of the decoded and the true caption.",
        percent=False,
    ),
    **{
        f"{key}_{name}": Metric(f"{title}, {label}", "Pictures", chance, text, percent)
        for name, label in _PICTURES.items()
        for key, title, chance, text, percent in (
            ("pixcorr", "PixCorr", None, "Correlation of pixels with the seen picture.", False),
            ("ssim", "SSIM", None, "Structural similarity with the seen picture.", False),
            (
                "two_way",
                "Two-way by a judge network",
                _half,
                "EfficientNet-Lite1, which trained nothing here.",
                True,
            ),
        )
        if not (name == "floor" and key == "two_way")
    },
}
"""Every metric by its name in files. Adding one is adding a line here and its scores below."""


def evaluate(settings: EvaluateSettings, *, source: Path, out: Path, resume: bool = False) -> Path:
    """Score one folder of reconstructions.

    Parameters
    ----------
    settings
        What to compute.
    source
        Folder that the stage ``reconstruct`` finished.
    out
        Folder to fill with ``scores.parquet`` (one row per image and metric) and ``summary.json``.
    resume
        Fill a folder that an interrupted run left behind.

    Returns
    -------
    Path
        The manifest of `out`.

    Raises
    ------
    ArtifactError
        If the source is unfinished, or its data set is gone.
    """
    manifest = read_manifest(source, stage="reconstruct")
    prepared = open_prepared(Path(manifest["config"]["source"]))
    out = claim_folder(out, resume=resume)
    items = pd.read_parquet(source / "items.parquet")
    tokens = {k: v.float() for k, v in load_file(source / "tokens.safetensors").items()}
    images = items["image"].tolist()
    check_gallery(images, manifest["training_images"])
    scores = {
        **_token_scores(tokens),
        **_picture_scores(settings, source, prepared, images=images, manifest=manifest),
    }
    if "caption" in items and prepared.captions is not None:
        true = [prepared.captions[i] for i in images]
        named = items["caption"].tolist()
        scores["caption"] = content_word_overlap(named, true)
        if settings.sentence_encoder is not None:
            embed = load_sentences(settings.sentence_encoder)
            scores["caption_meaning"] = sentence_similarity(embed(named), embed(true))
    chances: dict[str, float] = {}
    if prepared.categories is not None:
        scores["category"], chances["category"] = _category_scores(prepared, items, manifest)
    calibrated = _calibrated(tokens)
    np.save(out / "retrieved.npy", calibrated.topk(min(5, len(images)), dim=1).indices.numpy())
    # The middle of tied ranks, rounded to the worse: a tie is not a find.
    ranks = match_ranks(calibrated).ceil().long()
    table = pd.DataFrame({"image": images, **{k: v.numpy() for k, v in scores.items()}})
    table["rank"] = ranks.numpy()
    table.to_parquet(out / "scores.parquet", index=False)
    write_json(out / "summary.json", _summary(scores, settings, chances=chances))
    return write_manifest(
        out,
        stage="evaluate",
        config={**plain(settings), "source": str(source)},
        subject=manifest["subject"],
        label=manifest.get("label", ""),
        peak_memory_gib=round(peak_memory_gib(), 2),
    )


def _category_scores(
    prepared: Prepared, items: pd.DataFrame, manifest: Mapping[str, Any]
) -> tuple[Float[Tensor, " images"], float]:
    """Score the kind of the nearest training image; chance draws one of them at random."""
    kinds = prepared.categories
    assert kinds is not None
    true = [kinds[i] for i in items["image"]]
    named = [kinds[i] for i in items["nearest_training_image"]]
    known = [kinds[i] for i in manifest["training_images"]]
    chance = sum(known.count(kind) / len(known) for kind in true) / len(true)
    return torch.tensor([float(a == b) for a, b in zip(named, true, strict=True)]), chance


def _token_scores(tokens: Mapping[str, Tensor]) -> dict[str, Float[Tensor, " images"]]:
    true, predicted = tokens["true"], tokens["backbone"]
    calibrated = _calibrated(tokens)
    raw = similarity(predicted, true)
    plain_calibration = fit_calibration(tokens["training_backbone"], tokens["training_true"])
    plain = similarity(predicted, true, plain_calibration)
    mean = tokens["training_backbone"].mean(dim=0)
    projected = tokens["retrieval"] - tokens["retrieval"].mean(dim=0)
    return {
        "image_top1": _hits(calibrated, 1),
        "image_top5": _hits(calibrated, 5),
        "brain_top1": _hits(plain.T, 1),
        "image_top1_unexpected": _hits(plain, 1),
        "image_top1_raw": _hits(raw, 1),
        "brain_top1_raw": _hits(raw.T, 1),
        "image_top1_projected": _hits(similarity(projected, true), 1),
        "two_way_tokens": two_way_identification((predicted - mean).flatten(1), true.flatten(1)),
        "two_way_prior": two_way_identification(
            (tokens["prior"] - mean).flatten(1), true.flatten(1)
        ),
    }


def _calibrated(tokens: Mapping[str, Tensor]) -> Float[Tensor, "query gallery"]:
    calibration = fit_calibration(tokens["training_backbone"], tokens["training_expected"])
    return similarity(tokens["backbone"], tokens["expected"], calibration)


def _hits(similarities: Float[Tensor, "query gallery"], k: int) -> Float[Tensor, " query"]:
    """Return hits among the k best; a tie counts what breaking it at random gives on average."""
    return top_k_hits(similarities, k=min(k, similarities.shape[1]))


def _picture_scores(
    settings: EvaluateSettings,
    source: Path,
    prepared: Prepared,
    *,
    images: list[int],
    manifest: Mapping[str, Any],
) -> dict[str, Float[Tensor, " images"]]:
    there = {n: source / f"{n}.npy" for n in _PICTURES if (source / f"{n}.npy").exists()}
    if not there:
        return {}
    seen = to_float(prepared.images[images])
    judge = LiteFeatures(1, settings.judge_size)
    features = _features(judge, seen, "the seen pictures")
    scores: dict[str, Tensor] = {}
    size: tuple[int, int] = (0, 0)
    for name, path in there.items():
        drawn = to_float(np.load(path))
        size = (drawn.shape[-2], drawn.shape[-1])
        target = F.interpolate(seen, size, mode="area")
        scores[f"pixcorr_{name}"] = pixcorr(drawn, target)
        scores[f"ssim_{name}"] = ssim(drawn, target)
        scores[f"two_way_{name}"] = two_way_identification(
            _features(judge, drawn, _PICTURES[name]), features
        )
    mean = _mean_picture(prepared, manifest["training_images"], size)
    target = F.interpolate(seen, size, mode="area")
    scores["pixcorr_floor"] = pixcorr(mean.expand_as(target), target)
    scores["ssim_floor"] = ssim(mean.expand_as(target), target)
    return scores


@torch.inference_mode()
def _features(
    judge: LiteFeatures, pictures: Tensor, label: str
) -> Float[Tensor, "images features"]:
    parts = progress(pictures.split(32), label=f"judge: {label}")
    return torch.cat([judge.pooled(p) for p in parts])


def _mean_picture(
    prepared: Prepared, training_images: list[int], size: tuple[int, int]
) -> Float[Tensor, "1 rgb height width"]:
    chosen = training_images[:: max(1, len(training_images) // 500)]
    pictures = F.interpolate(to_float(prepared.images[chosen]), size, mode="area")
    return pictures.mean(dim=0, keepdim=True)


def _summary(
    scores: Mapping[str, Float[Tensor, " images"]],
    settings: EvaluateSettings,
    *,
    chances: Mapping[str, float],
) -> list[dict[str, object]]:
    rows = []
    for name, values in scores.items():
        metric = METRICS[name]
        draws = generator(settings.seed, "bootstrap", name)
        interval = bootstrap_interval(values, n_resamples=settings.n_resamples, generator=draws)
        stem = name.rpartition("_")[0] if metric.group == "Pictures" else ""
        floor, ceiling = (scores.get(f"{stem}_{end}") for end in ("floor", "ceiling"))
        rows.append(
            {
                "name": name,
                **{k: v for k, v in asdict(metric).items() if k != "chance"},
                "value": float(values.mean()),
                "low": interval.low,
                "high": interval.high,
                "chance": metric.chance(len(values)) if metric.chance else chances.get(name),
                "floor": None if floor is None else float(floor.mean()),
                "ceiling": None if ceiling is None else float(ceiling.mean()),
                "n": len(values),
            }
        )
    return rows
