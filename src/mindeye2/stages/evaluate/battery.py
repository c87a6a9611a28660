"""The battery: how much of a score comes from the brain, and how much from the generator."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.artifacts import write_json
from mindeye2.core.runtime import generator
from mindeye2.metrics import (
    bootstrap_interval,
    paired_difference,
    top_k_hits,
    two_way_identification,
)
from mindeye2.metrics.catalogue import METRICS
from mindeye2.stages.evaluate.battery_checks import (
    average_without,
    compare_galleries,
    count_dimensions,
    list_copies,
    score_clusters,
)
from mindeye2.stages.evaluate.battery_controls import BEST, RUN, Control, Decode, make_controls
from mindeye2.stages.evaluate.battery_findings import find_artefacts
from mindeye2.stages.evaluate.decoded import Job
from mindeye2.stages.evaluate.image_scores import laptop_image_scores, published_image_scores
from mindeye2.stages.evaluate.token_scores import similarities

__all__ = ["run_battery"]

TOKEN_METRICS = ("image_top1", "image_top5", "two_way_tokens")
"""Scores of tokens, as in the table of scores."""


def run_battery(job: Job, *, out: Path, decode: Decode | None) -> None:
    """Score the run beside its controls; write ``battery.json`` and ``battery.parquet``."""
    settings, decoded = job.settings, job.decoded
    work = out / "state" / "battery"
    work.mkdir(parents=True, exist_ok=True)
    n_images = min(settings.battery_images, len(decoded.images))
    controls, missing = make_controls(
        decoded,
        n_images=n_images,
        bottlenecks=settings.bottlenecks,
        seed=settings.seed,
        work=work,
        decode=decode,
        again=out / "battery",
    )
    scores = _score(job, controls)
    metrics = _metrics(decoded.files, scores)
    rows = [
        {
            "name": c.name,
            "title": c.title,
            "explanation": c.explanation,
            "scores": _averages(c.name, scores, metrics, job=job),
        }
        for c in controls
    ]
    run = controls[0]
    result: dict[str, Any] = {
        "n_images": n_images,
        "metrics": metrics,
        "controls": rows,
        "dimensions": count_dimensions(run),
        "clusters": score_clusters(run),
        "order": compare_galleries(run, seed=settings.seed),
        "copies": list_copies(run),
        "missing": missing,
    }
    result["without_copies"] = average_without(result["copies"], scores[RUN], run.images)
    result["findings"] = [asdict(f) for f in find_artefacts(result)]
    _table(scores, run.images).to_parquet(out / "battery.parquet", index=False)
    write_json(out / "battery.json", result)


def _score(job: Job, controls: Sequence[Control]) -> dict[str, dict[str, Tensor]]:
    """Score every control by the metrics of the protocol: name -> metric -> one score an image."""
    scores = {c.name: _token_scores(c) for c in controls}
    shown = {name: path for c in controls for name, path in c.shown.items()}
    if shown:
        score = published_image_scores if job.protocol.networks else laptop_image_scores
        # In one pass, which loads each network once.
        together = replace(
            job, decoded=replace(controls[0], shown=shown), state=job.state / "battery-scores"
        )
        for key, values in score(together).values.items():
            for name in shown:
                if key.endswith(f"_{name}"):
                    scores[name][key.removesuffix(f"_{name}")] = values
    return scores


def _token_scores(control: Control) -> dict[str, Float[Tensor, " images"]]:
    near = similarities(control)
    if near is None:
        return {}
    scores = {
        "image_top1": top_k_hits(near, k=1),
        "image_top5": top_k_hits(near, k=min(5, near.shape[1])),
    }
    if "backbone" in control.token_names:
        mean = control.tokens("training_backbone").mean(dim=0)
        scores["two_way_tokens"] = two_way_identification(
            (control.tokens("backbone") - mean).flatten(1), control.tokens("true").flatten(1)
        )
    return scores


def _metrics(files: Iterable[str], scores: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Any]:
    """Describe the metrics of the run: images first, as the table of scores names them."""
    best = next((k for k in BEST if k in files), "")
    found = {}
    for name, values in sorted(scores[RUN].items(), key=lambda x: x[0] in TOKEN_METRICS):
        metric = METRICS[name if name in TOKEN_METRICS else f"{name}_{best}"]
        title = metric.title if name in TOKEN_METRICS else metric.title.rpartition(", ")[0]
        found[name] = {
            "title": title,
            "percent": metric.percent,
            "higher_is_better": metric.higher_is_better,
            "chance": metric.chance(len(values)) if metric.chance else None,
        }
    return found


def _averages(
    control: str,
    scores: Mapping[str, Mapping[str, Tensor]],
    metrics: Iterable[str],
    *,
    job: Job,
) -> dict[str, Any]:
    """Average the scores of one control, and the differences of the run from it."""
    seed, n = job.settings.seed, job.settings.n_resamples
    averages = {}
    for metric in metrics:
        if metric not in scores[control]:
            continue
        own, other = scores[RUN][metric], scores[control][metric]
        stream = generator(seed, "battery", control, metric)
        averages[metric] = asdict(bootstrap_interval(other, n_resamples=n, generator=stream))
        if control != RUN:
            gap = paired_difference(own, other, n_resamples=n, generator=stream)
            averages[metric]["run_minus_this"] = asdict(gap)
    return averages


def _table(scores: Mapping[str, Mapping[str, Tensor]], images: Sequence[int]) -> pd.DataFrame:
    """Return one row per image and control, one column per metric."""
    parts = [
        pd.DataFrame(
            {"control": name, "image": images, **{k: v.numpy() for k, v in values.items()}}
        )
        for name, values in scores.items()
    ]
    return pd.concat(parts, ignore_index=True)
