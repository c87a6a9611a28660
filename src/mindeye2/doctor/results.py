"""Runs, reconstructions and scores: what is not finite, collapsed, at chance, or saw the test."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open

from mindeye2.core.artifacts import hash_file
from mindeye2.doctor.files import read_loosely
from mindeye2.doctor.finding import Finding, first_few, remake

__all__ = ["check_reconstruction", "check_run", "check_scores"]

COLLAPSED = 0.05
"""Spread over images of what is predicted, as a share of the true spread, below which predictions
are all alike: output dimension collapse."""

HEADLINES = ("image_top1", "two_way_tokens")
"""Scores that are above chance in any decoder that works."""


def check_run(folder: Path, manifest: dict[str, Any]) -> list[Finding]:
    """Look at weights and losses.

    Parameters
    ----------
    folder
        What ``mindeye2 train`` filled.
    manifest
        Its manifest.

    Returns
    -------
    list of Finding
        What is wrong, or that weights and losses are finite.
    """
    check, findings, n_steps = "run", [], 0
    for path in sorted(folder.glob("*.safetensors")):
        bad = [name for name, values in _tensors(path) if not torch.isfinite(values).all()]
        if bad:
            found = f"weights are NaN or infinite: {first_few(bad)}"
            findings.append(_error(check, path.name, found, mend=_lower(manifest)))
    for log in sorted(folder.rglob("steps.jsonl")):
        losses = [line.get("loss") for line in _lines(log)]
        n_steps += len(losses)
        wild = [i for i, loss in enumerate(losses) if loss is not None and not np.isfinite(loss)]
        if wild:
            found = f"the loss is not finite from step {wild[0]} on"
            where = log.relative_to(folder).as_posix()
            findings.append(_error(check, where, found, mend=_lower(manifest)))
    if not findings:
        found = f"weights and the losses of {n_steps} steps are finite"
        findings.append(Finding(level="ok", check=check, where=folder.name, found=found))
    return findings


def check_reconstruction(folder: Path, manifest: dict[str, Any]) -> list[Finding]:
    """Look at tokens and pictures, and whether the model saw what it is tested on.

    Parameters
    ----------
    folder
        What ``mindeye2 reconstruct`` filled.
    manifest
        Its manifest.

    Returns
    -------
    list of Finding
        What is wrong, or that nothing is.
    """
    check, config = "reconstruction", manifest.get("config", {})
    items = pd.read_parquet(folder / "items.parquet")
    findings = []
    tokens = dict(_tensors(folder / "tokens.safetensors"))
    for name, values in tokens.items():
        if not torch.isfinite(values).all():
            where = "tokens.safetensors"
            found = f"{name} tokens are NaN or infinite"
            mend = f"mindeye2 doctor {config.get('init')}"
            findings.append(_error(check, where, found, mend=mend))
    findings += _collapse(tokens, manifest)
    for path in sorted(folder.glob("*.npy")):
        pictures = np.load(path, mmap_mode="r", allow_pickle=False)
        flat = [i for i, picture in enumerate(pictures) if picture.min() == picture.max()]
        if flat:
            found = f"{len(flat)} pictures are of one colour (rows {first_few(flat)})"
            findings.append(_error(check, path.name, found, mend=remake(manifest)))
    seen = set(manifest.get("training_images", [])) | _remembered(config.get("init"))
    if manifest.get("config", {}).get("split", "test") != "test":
        seen = set()  # reconstructing training images is a choice, and the settings say so
    leaked = sorted(seen & set(items["image"].tolist()))
    if leaked:
        found = f"the model was trained on {len(leaked)} of these images: {first_few(leaked)}"
        mend = f"train on a data set whose splits are disjoint, then: {remake(manifest)}"
        findings.append(_error(check, folder.name, found, mend=mend))
    findings += _same_data(config)
    if not findings:
        found = (
            f"{len(items)} images: tokens and pictures are finite and differ; none was trained on"
        )
        findings.append(Finding(level="ok", check=check, where=folder.name, found=found))
    return findings


def check_scores(folder: Path, manifest: dict[str, Any]) -> list[Finding]:
    """Look at scores that are missing, at chance, or not what their images give.

    Parameters
    ----------
    folder
        What ``mindeye2 evaluate`` filled.
    manifest
        Its manifest.

    Returns
    -------
    list of Finding
        What is wrong, or the headline scores.
    """
    check = "scores"
    table = pd.read_parquet(folder / "scores.parquet")
    summary = {row["name"]: row for row in json.loads((folder / "summary.json").read_text())}
    findings = []
    for name, row in summary.items():
        values = table[name].to_numpy(np.float64)
        if not np.isfinite(values).all():
            rows = table.loc[~np.isfinite(values), "image"]
            found = f"{name} is not finite for images {first_few(rows)}"
            source = manifest.get("config", {}).get("source")
            findings.append(_error(check, name, found, mend=f"mindeye2 doctor {source}"))
        elif abs(values.mean() - row["value"]) > 1e-4:
            found = f"summary.json says {row['value']:.4f}, the images give {values.mean():.4f}"
            findings.append(_error(check, name, found, mend=remake(manifest)))
    for name in (n for n in HEADLINES if n in summary):
        row = summary[name]
        if row["chance"] is not None and row["low"] <= row["chance"]:
            found = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]: not above chance"
            mend = "mindeye2 doctor DATA, and look at 'trial order' and 'repeats'"
            findings.append(
                Finding(level="warning", check=check, where=name, found=found, mend=mend)
            )
    if not findings:
        best = ", ".join(f"{n} {summary[n]['value']:.3f}" for n in HEADLINES if n in summary)
        found = f"{len(table)} images, {len(summary)} scores, all finite; {best}"
        findings.append(Finding(level="ok", check=check, where=folder.name, found=found))
    return findings


def _collapse(tokens: dict[str, torch.Tensor], manifest: dict[str, Any]) -> list[Finding]:
    if not {"true", "backbone"} <= set(tokens) or len(tokens["true"]) < 3:
        return []
    spreads = {n: float(tokens[n].float().std(dim=0).mean()) for n in ("true", "backbone")}
    share = spreads["backbone"] / max(spreads["true"], 1e-12)
    if not share < COLLAPSED:
        return []
    found = (
        f"predicted tokens hardly differ between images: {100 * share:.1f} % of the true spread "
        "(output dimension collapse)"
    )
    mend = "look at the data's 'trial order', or train with a lower penalty, then: "
    where = "tokens.safetensors"
    mend += remake(manifest)
    check = "reconstruction"
    return [Finding(level="warning", check=check, where=where, found=found, mend=mend)]


def _remembered(init: str | None) -> set[int]:
    """Return the images that the run says it was trained on, where the run is at hand."""
    tables = sorted(Path(init).glob("memory/*.parquet")) if init else []
    return {int(i) for t in tables for i in pd.read_parquet(t, columns=["image"])["image"]}


def _same_data(config: dict[str, Any]) -> list[Finding]:
    """Compare the pictures of the data set with those that the run was trained on."""
    run = read_loosely(Path(str(config.get("init"))))
    images = Path(str(config.get("source"))) / "images.npy"
    if run is None or "images" not in run or not images.exists():
        return []
    data = read_loosely(images.parent) or {"files": {}}
    stored = data["files"].get("images.npy", {}).get("sha256") or hash_file(images)
    if stored == run["images"]:
        return []
    found = "the run was trained on other pictures: image numbers do not mean the same"
    mend = f"mindeye2 reconstruct --source the data set of {config.get('init')}"
    return [_error("reconstruction", str(config.get("init")), found, mend=mend)]


def _tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield tensors one by one, so that a checkpoint is never in memory as a whole."""
    try:
        with safe_open(path, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - not a mapping
                yield name, stored.get_tensor(name)
    except (OSError, SafetensorError):
        return  # said among the files


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            yield json.loads(line)


def _lower(manifest: dict[str, Any]) -> str:
    name = "ridge" if manifest.get("config", {}).get("task") == "adapt" else "optimizer"
    return f"train again with a lower rate: {remake(manifest)} --set {name}.max_lr=1e-5"


def _error(check: str, where: str, found: str, *, mend: str) -> Finding:
    return Finding(level="error", check=check, where=where, found=found, mend=mend)
