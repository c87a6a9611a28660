"""Variants of retrieval: galleries and pools of any size, scalings, another encoder's space."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.artifacts import resolve_path, write_json
from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import generator, progress
from mindeye2.data.prepared import Prepared, open_prepared
from mindeye2.metrics import bootstrap_interval
from mindeye2.metrics.gallery_search import search_gallery
from mindeye2.metrics.ranking import expected_hits
from mindeye2.metrics.retrieval import Queries, fit_calibration
from mindeye2.models.checkpoint import load_run
from mindeye2.models.forward_model import load_forward_model
from mindeye2.models.token_map import fit_token_map
from mindeye2.stages.evaluate.decoded import Decoded, Job

__all__ = ["write_retrieval"]

BLOCK = 2**25
"""Numbers of a gallery that are in memory at once: 128 MiB as float32."""

Gallery = Callable[[Tensor], Tensor]
"""Maps true tokens of gallery images to what predictions are compared with."""


@dataclass(frozen=True)
class Scaling:
    """One way to compare predictions with a gallery."""

    name: str
    """Name in files."""
    title: str
    """Name in tables."""
    encoder: str
    """Targets of the gallery."""
    queries: Queries
    """Predictions."""
    own: Float[Tensor, "query ..."]
    """Gallery tokens of the test images, in their order."""
    gallery: Gallery
    """For the other gallery images."""


def write_retrieval(job: Job, *, out: Path) -> None:
    """Rank the gallery in every variant; write ``retrieval.json`` and ``retrieval.parquet``."""
    decoded, settings = job.decoded, job.settings
    if "backbone" not in decoded.token_names:
        return
    encoder = str(decoded.manifest.get("encoder", ""))
    others, n_training = None, 0
    rows = np.empty(0, np.int64)
    if settings.gallery is not None:
        if not encoder:
            raise ArtifactError(
                f"{decoded.folder} does not record the encoder of its tokens, which a gallery "
                "needs: reconstruct again with this version."
            )
        others = open_prepared(settings.gallery)
        rows, n_training = _distractors(decoded, others, encoder)
    n_gallery = len(decoded.images) + len(rows)
    pools = sorted({*(p for p in settings.pools if p < n_gallery), n_gallery})
    table: dict[str, Any] = {"image": decoded.images}
    summary = []
    for scaling in _scalings(
        decoded, encoder, settings.gallery_encoder, larger=others is not None
    ):
        better, ties = _count(scaling, others, rows)
        for pool in pools:
            for k in sorted({k for k in settings.top_k if k <= pool}):
                hits = expected_hits(better, ties, k=k, pool=pool, n_gallery=n_gallery)
                name = f"{scaling.name}_top{k}_of_{pool}"
                stream = generator(settings.seed, "retrieval", name)
                interval = bootstrap_interval(
                    hits, n_resamples=settings.n_resamples, generator=stream
                )
                table[name] = hits.numpy()
                summary.append(
                    {
                        "name": name,
                        "scaling": scaling.title,
                        "k": k,
                        "pool": pool,
                        "chance": k / pool,
                        **asdict(interval),
                    }
                )
    pd.DataFrame(table).to_parquet(out / "retrieval.parquet", index=False)
    write_json(
        out / "retrieval.json",
        {
            "n_test": len(decoded.images),
            "n_gallery": n_gallery,
            "gallery": None if others is None else others.folder.name,
            "training_images": n_training,
            "rows": summary,
        },
    )


def _scalings(
    decoded: Decoded, encoder: str, other: str | None, *, larger: bool
) -> Iterator[Scaling]:
    """Yield the comparisons, the headline's first; each reads its own tokens.

    Only distractors of a `larger` gallery need the forward model of the run.
    """
    read = decoded.tokens
    forward = _forward_model(decoded) if larger else _same
    titles = {"calibrated": "Centred, with CSLS from training images", "centred": "Centred"}
    for name, title in titles.items():
        calibration = fit_calibration(
            decoded.whitened("training_backbone"),
            decoded.whitened("training_expected"),
            neighbours=10 if name == "calibrated" else 0,
        )
        queries = Queries(decoded.whitened("backbone"), calibration)
        yield Scaling(name, title, encoder, queries, decoded.whitened("expected"), forward)
    for name, title, tokens in (
        ("raw", "Raw cosine", "backbone"),
        ("head", "Retrieval head, raw cosine", "retrieval"),
    ):
        if tokens in decoded.token_names:
            yield Scaling(name, title, encoder, Queries(read(tokens)), read("true"), _same)
    if other is None:
        return
    targets = decoded.prepared.targets(other)
    own, of_training = (
        torch.from_numpy(np.asarray(targets[rows], np.float32)).flatten(1)
        for rows in (decoded.images, decoded.manifest["training_images"])
    )
    to_other = fit_token_map(read("training_true"), of_training)
    mean = read("training_backbone").flatten(1).mean(dim=0)
    mapped = to_other(read("backbone"), mean=mean)
    calibration = fit_calibration(to_other(read("training_backbone"), mean=mean), of_training)
    for name, title, known in (
        ("calibrated", "centred, with CSLS", calibration),
        ("raw", "raw cosine", None),
    ):
        queries = Queries(mapped, known)
        yield Scaling(f"{other}_{name}", f"{other}, {title}", other, queries, own, _flat)


def _same(tokens: Tensor) -> Tensor:
    return tokens


def _flat(tokens: Tensor) -> Tensor:
    return tokens.flatten(1)


def _forward_model(decoded: Decoded) -> Gallery:
    """Read the forward model of the run that decoded, whitened; the identity without one."""
    if torch.equal(decoded.tokens("true"), decoded.tokens("expected")):
        return _same
    init = resolve_path(str(decoded.manifest["config"].get("init")), folder=decoded.folder)
    model = load_forward_model(init, load_run(init).model.backbone.output)
    return _same if model is None else lambda tokens: model.whiten(model(tokens))


def _count(scaling: Scaling, others: Prepared | None, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Count gallery images better than each prediction's own one, and tied with it."""
    near = scaling.queries.score(scaling.own)
    true = near.diagonal().clone()
    better = (near > true[:, None]).sum(dim=1)
    ties = (near == true[:, None]).sum(dim=1) - 1
    if others is None:
        return better, ties
    targets = others.targets(scaling.encoder)
    width = int(np.prod(targets.shape[1:]))
    step = max(1, BLOCK // width)

    def blocks() -> Iterator[Tensor]:
        starts = range(0, len(rows), step)
        for start in progress(starts, label=f"gallery: {scaling.title}"):
            stored = np.asarray(targets[rows[start : start + step]], np.float32)
            yield scaling.gallery(torch.from_numpy(stored))

    found = search_gallery(scaling.queries, blocks(), true=true)
    return better + found.better, ties + found.ties


def _distractors(decoded: Decoded, others: Prepared, encoder: str) -> tuple[np.ndarray, int]:
    """Return the gallery's images that are no test images, and how many were seen in training.

    Images of two data sets are the same where tokens at three positions are.
    """
    own = decoded.prepared
    seen = np.union1d(own.images_of("train"), own.images_of("validation"))
    stored = others.targets(encoder)
    keys = _keys(stored, np.arange(len(stored)))
    test = set(_keys(own.targets(encoder), np.asarray(decoded.images)))
    training = set(_keys(own.targets(encoder), seen)) - test
    rows = np.array([row for row, key in enumerate(keys) if key not in test], np.int64)
    return rows, sum(keys[row] in training for row in rows.tolist())


def _keys(stored: np.ndarray, rows: np.ndarray) -> list[bytes]:
    """Return a hash of the first, middle and last token of each image."""
    n_tokens = stored.shape[1]
    positions = sorted({0, n_tokens // 2, n_tokens - 1})
    return [
        hashlib.blake2b(
            stored[row][positions].astype(np.float16).tobytes(), digest_size=16
        ).digest()
        for row in rows.tolist()
    ]
