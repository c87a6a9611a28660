"""The evaluate stage: score one folder of reconstructions under one protocol."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.artifacts import (
    claim_folder,
    hash_file,
    keep_settings,
    read_manifest,
    record_path,
    resolve_path,
    write_json,
    write_manifest,
    write_text,
)
from mindeye2.core.runtime import generator, peak_memory_gib
from mindeye2.core.settings import plain
from mindeye2.data.prepared import open_prepared
from mindeye2.metrics import bootstrap_interval, match_ranks
from mindeye2.metrics.catalogue import METRICS
from mindeye2.metrics.noise_ceiling import NoiseCeiling
from mindeye2.metrics.protocols import PROTOCOLS
from mindeye2.metrics.retrieval import check_gallery
from mindeye2.metrics.stats import Interval
from mindeye2.reporting import as_latex, as_markdown, result_tables
from mindeye2.stages.evaluate.batch_scores import score_on_rank0
from mindeye2.stages.evaluate.battery import run_battery
from mindeye2.stages.evaluate.battery_controls import Decode
from mindeye2.stages.evaluate.brain_scores import brain_scores
from mindeye2.stages.evaluate.caption_scores import (
    laptop_caption_scores,
    published_caption_scores,
)
from mindeye2.stages.evaluate.decoded import Decoded, Job, Scores
from mindeye2.stages.evaluate.evaluate_settings import EvaluateSettings
from mindeye2.stages.evaluate.image_scores import laptop_image_scores, published_image_scores
from mindeye2.stages.evaluate.input_checks import check_decoded
from mindeye2.stages.evaluate.kind_scores import kind_scores, write_named_kinds
from mindeye2.stages.evaluate.known_image_scores import known_image_scores, open_known_images
from mindeye2.stages.evaluate.repeat_scores import repeat_scores
from mindeye2.stages.evaluate.retrieval_scores import write_retrieval
from mindeye2.stages.evaluate.token_scores import (
    calibrated_scores,
    published_scores,
    similarities,
)
from mindeye2.training.distributed import init_processes, run_on_rank0

__all__ = ["evaluate"]

_MAY_CHANGE = ("download", "networks")
"""Settings that only decide where weights come from."""


def evaluate(
    settings: EvaluateSettings,
    *,
    source: Path,
    out: Path,
    data: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    decode: Decode | None = None,
) -> Path:
    """Score one folder of reconstructions.

    Of several processes that torchrun started, each computes the features of its own batches of
    images; the files do not depend on their number.

    Parameters
    ----------
    settings
        Protocol, networks and resampling.
    source
        Folder that the stage ``reconstruct`` finished.
    out
        Folder to fill with ``scores.parquet`` (one row per image, one column per metric),
        ``summary.json``, ``table.md`` and ``table.tex``; where there are predicted tokens also
        ``retrieval.json`` and ``retrieval.parquet``, with ``battery`` also ``battery.json`` and
        ``battery.parquet``.
    data
        Prepared data set; by default the one that the reconstructions were made from.
    resume
        Go on with an interrupted run: batches of images and groups of scores that are finished
        are kept. A finished folder is left as it is, unless scores were missing.
    device
        Where the paper's networks compute; of several GPUs each process takes its own.
    decode
        Reconstructs into a folder as `source` was, with some settings changed, for the battery:
        `mindeye2.controls.decode_again`. Without it the battery lacks controls that need the
        model.

    Returns
    -------
    Path
        The manifest of `out`.

    Raises
    ------
    ArtifactError
        If the source is unfinished or damaged, its data set is gone, or another one is given.
    ValueError
        If images cannot be scored: there is one only, a seen image is constant, or images of the
        gallery were trained on; or if the battery or a larger gallery is asked for known images.
    """
    manifest = read_manifest(source, stage="reconstruct")
    prepared = open_prepared(data or resolve_path(manifest["config"]["source"], folder=source))
    decoded = Decoded(Path(source), prepared)
    own_device, out = init_processes(device), Path(out)
    config = {
        **plain(settings),
        "source": record_path(source, folder=out),
        "data": record_path(prepared.folder, folder=out),
    }
    run_on_rank0(lambda: _claim(out, config, resume=resume))
    # Refused after the folder was claimed, so that the next stage finds the error in it.
    check_decoded(decoded, data=data)
    if not prepared.known_images:
        check_gallery(decoded.images, manifest["training_images"])
    elif settings.battery or settings.gallery is not None:
        raise ValueError(
            "battery and gallery are for test images that were not trained on, and the test "
            f"trials of {prepared.folder} show known images: to look up a training image is the "
            "task itself, and images that were not trained on would stand out among known ones. "
            "Leave both settings out; the binomial interval says whether the score is above "
            "chance."
        )
    if (out / "manifest.json").exists():
        return out / "manifest.json"
    run_on_rank0(lambda: _open_state(out / "state", source=Path(source)))
    job = Job(decoded, PROTOCOLS[settings.protocol], settings, own_device, out / "state")
    groups = _score(job)

    def finish() -> None:
        gallery = _write_scores(out, job, groups)
        if not prepared.known_images:
            write_retrieval(job, out=out)
        if settings.battery:
            run_battery(job, out=out, decode=decode)
        write_manifest(
            out,
            stage="evaluate",
            config=config,
            subject=manifest["subject"],
            label=manifest.get("label", ""),
            simulated=bool(prepared.manifest.get("simulated", False)),
            images_sha256=prepared.images_hash,
            design=prepared.design,
            image_split=prepared.manifest.get("image_split"),
            gallery=gallery,
            missing=[sentence for group in groups for sentence in group.missing],
            peak_memory_gib=round(peak_memory_gib(), 2),
        )
        shutil.rmtree(job.state, ignore_errors=True)

    run_on_rank0(finish)
    return out / "manifest.json"


def _claim(out: Path, config: Mapping[str, object], *, resume: bool) -> None:
    """Claim the folder; unseal a finished one whose scores were not complete."""
    path = out / "manifest.json"
    finished = read_manifest(out, stage="evaluate") if resume and path.exists() else None
    complete = finished is not None and not finished["missing"]
    folder = claim_folder(out, resume=resume)
    keep_settings(folder, config, may_change=() if complete else _MAY_CHANGE)
    if not complete:
        path.unlink(missing_ok=True)


def _open_state(state: Path, *, source: Path) -> None:
    """Forget scores of other reconstructions than those of `source`."""
    key = hash_file(source / "manifest.json")
    if not (state / key).exists():
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir()
        (state / key).touch()


def _score(job: Job) -> list[Scores]:
    """Compute the groups of scores of the protocol: images by all processes, the rest by one."""
    tokens = [score_on_rank0(job, "tokens", lambda: _score_tokens(job))]
    if job.protocol.retrieval == "calibrated":
        tokens.append(score_on_rank0(job, "repeats", lambda: repeat_scores(job.decoded)))
    if not job.protocol.networks:
        captions = score_on_rank0(job, "captions", lambda: laptop_caption_scores(job))
        return [*tokens, laptop_image_scores(job), captions]
    return [
        *tokens,
        published_image_scores(job),
        score_on_rank0(job, "brain", lambda: brain_scores(job)),
        score_on_rank0(job, "captions", lambda: published_caption_scores(job)),
    ]


def _score_tokens(job: Job) -> Scores:
    if job.decoded.prepared.known_images:
        return known_image_scores(job.decoded)
    published = job.protocol.retrieval == "published"
    return published_scores(job) if published else calibrated_scores(job.decoded)


def _write_scores(out: Path, job: Job, groups: Sequence[Scores]) -> list[int]:
    """Write scores by image, their summary, and the tables; return the ranked images."""
    decoded, settings = job.decoded, job.settings
    if job.protocol.retrieval == "calibrated":
        kinds = kind_scores(decoded)
        groups = [*groups, kinds]
        write_named_kinds(decoded, kinds, out / "captions.json")
    scores = {name: x for group in groups for name, x in group.values.items()}
    chances = {name: chance for group in groups for name, chance in group.chances.items()}
    table = pd.DataFrame({"image": decoded.images, **{k: v.numpy() for k, v in scores.items()}})
    gallery = _rank(decoded, table, out)
    table.to_parquet(out / "scores.parquet", index=False)
    intervals = {name: x for group in groups for name, x in group.intervals.items()}
    ceilings = {name: x for group in groups for name, x in group.noise_ceilings.items()}
    summary = _summary(
        scores, settings, chances=chances, intervals=intervals, noise_ceilings=ceilings
    )
    write_json(out / "summary.json", summary)
    tables = result_tables(
        summary,
        protocol=settings.protocol,
        subject=str(decoded.manifest["subject"]),
        n_images=len(table),
    )
    write_text(out / "table.md", as_markdown(tables))
    write_text(out / "table.tex", as_latex(tables))
    return gallery


def _rank(decoded: Decoded, table: pd.DataFrame, out: Path) -> list[int]:
    """Add the rank of the seen image, keep the five best, and return the ranked images."""
    known = open_known_images(decoded) if decoded.prepared.known_images else None
    near = similarities(decoded) if known is None else known.averaged
    if near is None:
        return decoded.images
    best = near.topk(min(5, near.shape[1]), dim=1)
    np.save(out / "retrieved.npy", best.indices.numpy())
    # The middle of tied ranks, rounded to the worse: a tie does not count as found.
    ranks = match_ranks(near, match=None if known is None else known.target)
    table["rank"] = ranks.ceil().long().numpy()
    return decoded.images if known is None else [int(i) for i in known.images]


def _summary(
    scores: Mapping[str, Float[Tensor, " images"]],
    settings: EvaluateSettings,
    *,
    chances: Mapping[str, float],
    intervals: Mapping[str, Interval],
    noise_ceilings: Mapping[str, NoiseCeiling],
) -> list[dict[str, object]]:
    rows = []
    for name, values in scores.items():
        metric = METRICS[name]
        interval = intervals.get(name) or bootstrap_interval(
            values,
            n_resamples=settings.n_resamples,
            generator=generator(settings.seed, "bootstrap", name),
        )
        stem = name.rpartition("_")[0] if metric.group == "Images" else ""
        noise = noise_ceilings.get(name)
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
                "noise_ceiling_low": None if noise is None else noise.low,
                "noise_ceiling_high": None if noise is None else noise.high,
                "n": len(values),
            }
        )
    return rows
