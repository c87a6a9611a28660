"""Evaluate: reconstructions -> one score per image and metric, with intervals and chance."""

from collections.abc import Mapping
from dataclasses import asdict
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

from mindeye2.core.artifacts import (
    claim_folder,
    read_manifest,
    record_path,
    resolve_path,
    write_json,
    write_manifest,
)
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
from mindeye2.metrics.catalogue import IMAGES, METRICS
from mindeye2.metrics.retrieval import check_gallery, fit_calibration, similarity

__all__ = ["EvaluateSettings", "evaluate"]


class EvaluateSettings(Settings):
    """Settings of the stage ``evaluate``."""

    seed: int = 0
    """Seeds the bootstrap."""

    n_resamples: Annotated[int, Field(ge=100)] = 10_000
    """Bootstrap resamples of the images for the 95 % intervals."""

    extractor_size: Annotated[int, Field(ge=64)] = 240
    """Side in pixels of the input of the feature extractor, EfficientNet-Lite1. It is used nowhere
    else: target tokens come from Lite0, simulated responses from Lite2."""

    sentence_encoder: str | None = None
    """Sentence encoder that compares captions by meaning: a folder, or a name on the hub such as
    sentence-transformers/all-MiniLM-L6-v2 (91 MB, Apache-2.0), which is then downloaded. None
    scores shared words only."""


def evaluate(
    settings: EvaluateSettings,
    *,
    source: Path,
    out: Path,
    data: Path | None = None,
    resume: bool = False,
) -> Path:
    """Score one folder of reconstructions.

    Parameters
    ----------
    settings
        Metrics and resampling.
    source
        Folder that the stage ``reconstruct`` finished.
    out
        Folder to fill with ``scores.parquet`` (one row per image and metric) and ``summary.json``.
    data
        Prepared data set; by default the one that the reconstructions were made from.
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
    prepared = open_prepared(data or resolve_path(manifest["config"]["source"], folder=source))
    out = claim_folder(out, resume=resume)
    items = pd.read_parquet(source / "items.parquet")
    tokens = _read_tokens(source / "tokens.safetensors")
    images = items["image"].tolist()
    check_gallery(images, manifest["training_images"])
    scores = {
        **_token_scores(tokens),
        **_image_scores(settings, source, prepared, images=images, manifest=manifest),
    }
    if "caption" in items and prepared.captions is not None:
        preds, targets = items["caption"].tolist(), [prepared.captions[i] for i in images]
        scores["caption"] = content_word_overlap(preds, targets)
        if settings.sentence_encoder is not None:
            embed = load_sentences(settings.sentence_encoder)
            scores["caption_meaning"] = sentence_similarity(embed(preds), embed(targets))
    chances: dict[str, float] = {}
    if prepared.categories is not None and "nearest_training_image" in items:
        scores["category"], chances["category"] = _category_scores(prepared, items, manifest)
    table = pd.DataFrame({"image": images, **{k: v.numpy() for k, v in scores.items()}})
    near = _similarities(tokens)
    if near is not None:
        np.save(out / "retrieved.npy", near.topk(min(5, len(images)), dim=1).indices.numpy())
        # The middle of tied ranks, rounded to the worse: a tie does not count as found.
        table["rank"] = match_ranks(near).ceil().long().numpy()
    table.to_parquet(out / "scores.parquet", index=False)
    write_json(out / "summary.json", _summary(scores, settings, chances=chances))
    return write_manifest(
        out,
        stage="evaluate",
        config={
            **plain(settings),
            "source": record_path(source, folder=out),
            "data": record_path(prepared.folder, folder=out),
        },
        subject=manifest["subject"],
        label=manifest.get("label", ""),
        peak_memory_gib=round(peak_memory_gib(), 2),
    )


def _category_scores(
    prepared: Prepared, items: pd.DataFrame, manifest: Mapping[str, Any]
) -> tuple[Float[Tensor, " images"], float]:
    """Score the category of the nearest training image; chance is that of a random one."""
    categories = prepared.categories
    assert categories is not None
    targets = [categories[i] for i in items["image"]]
    preds = [categories[i] for i in items["nearest_training_image"]]
    training = [categories[i] for i in manifest["training_images"]]
    chance = sum(training.count(c) / len(training) for c in targets) / len(targets)
    return torch.tensor([float(p == t) for p, t in zip(preds, targets, strict=True)]), chance


def _token_scores(tokens: Mapping[str, Tensor]) -> dict[str, Float[Tensor, " images"]]:
    if "retrieval" not in tokens:
        return {}
    head = similarity(tokens["retrieval"], tokens["true"])
    published = {
        "image_top1_retrieval_head": top_k_hits(head, k=1),
        "brain_top1_retrieval_head": top_k_hits(head.T, k=1),
    }
    if "backbone" not in tokens:
        return published
    preds, targets = tokens["backbone"], tokens["true"]
    calibrated = _calibrated(tokens)
    no_forward_model = similarity(
        preds, targets, fit_calibration(tokens["training_backbone"], tokens["training_true"])
    )
    raw = similarity(preds, targets)
    # The training mean: subtracting that of the test set would be transductive.
    mean = tokens["training_backbone"].mean(dim=0)
    return {
        "image_top1": top_k_hits(calibrated, k=1),
        "image_top5": top_k_hits(calibrated, k=min(5, len(targets))),
        "brain_top1": top_k_hits(no_forward_model.T, k=1),
        "image_top1_no_forward_model": top_k_hits(no_forward_model, k=1),
        "image_top1_raw": top_k_hits(raw, k=1),
        "brain_top1_raw": top_k_hits(raw.T, k=1),
        **published,
        "two_way_tokens": two_way_identification((preds - mean).flatten(1), targets.flatten(1)),
        "two_way_prior": two_way_identification(
            (tokens["prior"] - mean).flatten(1), targets.flatten(1)
        ),
    }


def _read_tokens(path: Path) -> dict[str, Tensor]:
    """Read the tokens of a reconstruction; outputs of the released notebooks may have none."""
    return {k: v.float() for k, v in load_file(path).items()} if path.exists() else {}


def _similarities(tokens: Mapping[str, Tensor]) -> Float[Tensor, "query gallery"] | None:
    """Compare predictions with the test images: calibrated, or as published without a bank."""
    if "backbone" in tokens:
        return _calibrated(tokens)
    return similarity(tokens["retrieval"], tokens["true"]) if "retrieval" in tokens else None


def _calibrated(tokens: Mapping[str, Tensor]) -> Float[Tensor, "query gallery"]:
    calibration = fit_calibration(tokens["training_backbone"], tokens["training_expected"])
    return similarity(tokens["backbone"], tokens["expected"], calibration)


def _image_scores(
    settings: EvaluateSettings,
    source: Path,
    prepared: Prepared,
    *,
    images: list[int],
    manifest: Mapping[str, Any],
) -> dict[str, Float[Tensor, " images"]]:
    files = {n: source / f"{n}.npy" for n in IMAGES if (source / f"{n}.npy").exists()}
    if not files:
        return {}
    stimuli = to_float(prepared.images[images])
    extractor = LiteFeatures(1, settings.extractor_size)
    features = _features(extractor, stimuli, "seen images")
    scores: dict[str, Tensor] = {}
    targets = stimuli
    for name, path in files.items():
        preds = to_float(np.load(path))
        targets = _resize(stimuli, preds.shape[-2:])
        scores[f"pixcorr_{name}"] = pixcorr(preds, targets)
        scores[f"ssim_{name}"] = ssim(preds, targets)
        scores[f"two_way_{name}"] = two_way_identification(
            _features(extractor, preds, IMAGES[name]), features
        )
    chosen = manifest["training_images"][:: max(1, len(manifest["training_images"]) // 500)]
    training = _resize(to_float(prepared.images[chosen]), targets.shape[-2:])
    floor = training.mean(dim=0, keepdim=True).expand_as(targets)
    scores["pixcorr_floor"] = pixcorr(floor, targets)
    scores["ssim_floor"] = ssim(floor, targets)
    return scores


def _resize(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize as the published evaluation does: bilinear, without antialiasing."""
    return F.interpolate(images, size, mode="bilinear", antialias=False)


@torch.inference_mode()
def _features(
    extractor: LiteFeatures, images: Tensor, label: str
) -> Float[Tensor, "images features"]:
    batches = progress(images.split(32), label=f"features: {label}")
    return torch.cat([extractor.pooled(b) for b in batches])


def _summary(
    scores: Mapping[str, Float[Tensor, " images"]],
    settings: EvaluateSettings,
    *,
    chances: Mapping[str, float],
) -> list[dict[str, object]]:
    rows = []
    for name, values in scores.items():
        metric = METRICS[name]
        interval = bootstrap_interval(
            values,
            n_resamples=settings.n_resamples,
            generator=generator(settings.seed, "bootstrap", name),
        )
        stem = name.rpartition("_")[0] if metric.group == "Images" else ""
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
