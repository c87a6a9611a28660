"""Runs, reconstructions and scores: not finite, collapsed, at chance, trained on test images."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open

from mindeye2.core.artifacts import hash_file
from mindeye2.data.known_images import KNOWN_IMAGES
from mindeye2.doctor.finding import Finding, first_few, rerun_command
from mindeye2.doctor.integrity import read_damaged_manifest

__all__ = ["check_reconstruction", "check_run", "check_scores"]

COLLAPSED = 0.05
"""Standard deviation over images of decoded tokens, as a fraction of that of the true tokens,
below which the decoder's output has collapsed."""

HEADLINES = ("known_image_single", "image_top1", "two_way_tokens")
"""Scores that are above chance in any decoder that works."""


def check_run(folder: Path, manifest: dict[str, Any]) -> list[Finding]:
    """Check that weights and losses of a training are finite."""
    problems, n_steps = [], 0
    for path in sorted(folder.glob("*.safetensors")):
        bad = [name for name, values in _tensors(path) if not torch.isfinite(values).all()]
        if bad:
            problems.append((path.name, f"weights are NaN or infinite: {first_few(bad)}"))
    for log in sorted(folder.rglob("steps.jsonl")):
        lines = log.read_text(encoding="utf-8").splitlines()
        losses = [json.loads(line).get("loss") for line in lines if line.strip()]
        n_steps += len(losses)
        bad_steps = [i for i, x in enumerate(losses) if x is not None and not np.isfinite(x)]
        if bad_steps:
            found = f"the loss is not finite from step {bad_steps[0]} on"
            problems.append((log.relative_to(folder).as_posix(), found))
    if not problems:
        found = f"weights and the losses of {n_steps} steps are finite"
        return [Finding("ok", "run", where=folder.name, found=found)]
    name = "ridge" if manifest.get("config", {}).get("task") == "adapt" else "optimizer"
    fix = f"use a lower learning rate: {rerun_command(manifest)} --set {name}.max_lr=1e-5"
    return [Finding("error", "run", where=where, found=text, fix=fix) for where, text in problems]


def check_reconstruction(folder: Path, manifest: dict[str, Any]) -> list[Finding]:
    """Check tokens, reconstructed images, and that no reconstructed image was trained on."""
    check, config = "reconstruction", manifest.get("config", {})
    items = pd.read_parquet(folder / "items.parquet")
    findings = []
    tokens = dict(_tensors(folder / "tokens.safetensors"))
    for name, values in tokens.items():
        if not torch.isfinite(values).all():
            found, fix = (
                f"{name} tokens are NaN or infinite",
                f"mindeye2 doctor {config.get('init')}",
            )
            findings.append(
                Finding("error", check, where="tokens.safetensors", found=found, fix=fix)
            )
    findings += _collapse(tokens, manifest)
    for path in sorted(folder.glob("*.npy")):
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        flat = [i for i, image in enumerate(images) if image.min() == image.max()]
        if flat:
            found = f"{len(flat)} images are of one colour (rows {first_few(flat)})"
            fix = rerun_command(manifest)
            findings.append(Finding("error", check, where=path.name, found=found, fix=fix))
    trained_on = set(manifest.get("training_images", [])) | _training_images(config.get("init"))
    leaked = sorted(trained_on & set(items["image"].tolist()))
    # Reconstructing training images is a choice that the settings record.
    known = manifest.get("design") == KNOWN_IMAGES
    if leaked and config.get("split", "test") == "test" and not known:
        found = f"the model was trained on {len(leaked)} of these images: {first_few(leaked)}"
        fix = rerun_command(manifest, first="train on a data set whose splits are disjoint")
        findings.append(Finding("error", check, where=folder.name, found=found, fix=fix))
    findings += _other_images(config)
    if not findings:
        if known:
            trained = "all were trained on, as the design of known images says"
        else:
            trained = "none was trained on" if trained_on else "the training images are unknown"
        found = f"{len(items)} images: tokens and images are finite and differ; {trained}"
        findings.append(Finding("ok", check, where=folder.name, found=found))
    return findings


def check_scores(folder: Path, manifest: dict[str, Any]) -> list[Finding]:
    """Check that scores are finite, above chance, and the means of their images' scores."""
    check = "scores"
    table = pd.read_parquet(folder / "scores.parquet")
    summary = {row["name"]: row for row in json.loads((folder / "summary.json").read_text())}
    findings = []
    for name, row in summary.items():
        values = table[name].to_numpy(np.float64)
        if not np.isfinite(values).all():
            rows = table.loc[~np.isfinite(values), "image"]
            found = f"{name} is not finite for images {first_few(rows)}"
            fix = f"mindeye2 doctor {manifest.get('config', {}).get('source')}"
            findings.append(Finding("error", check, where=name, found=found, fix=fix))
        elif abs(values.mean() - row["value"]) > 1e-4:
            found = f"summary.json has {row['value']:.4f}, the images' mean is {values.mean():.4f}"
            fix = rerun_command(manifest)
            findings.append(Finding("error", check, where=name, found=found, fix=fix))
    headlines = {name: summary[name] for name in HEADLINES if name in summary}
    for name, row in headlines.items():
        if row["chance"] is not None and row["low"] <= row["chance"]:
            found = f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]: not above chance"
            fix = "mindeye2 doctor DATA, and see its checks 'trial order' and 'repeats'"
            findings.append(Finding("warning", check, where=name, found=found, fix=fix))
    if not findings:
        values = ", ".join(f"{name} {row['value']:.3f}" for name, row in headlines.items())
        found = f"{len(table)} images, {len(summary)} scores, all finite; {values}"
        findings.append(Finding("ok", check, where=folder.name, found=found))
    return findings


def _collapse(tokens: dict[str, torch.Tensor], manifest: dict[str, Any]) -> list[Finding]:
    """Warn if decoded tokens hardly differ between images."""
    if not {"true", "backbone"} <= set(tokens) or len(tokens["true"]) < 3:
        return []
    std = {n: float(tokens[n].float().std(dim=0).mean()) for n in ("true", "backbone")}
    fraction = std["backbone"] / max(std["true"], 1e-12)
    if not fraction < COLLAPSED:
        return []
    found = (
        f"decoded tokens hardly differ between images: {100 * fraction:.1f} % of the true "
        "standard deviation (output dimension collapse)"
    )
    first = "see the data set's check 'trial order', or train with a lower alpha"
    fix = rerun_command(manifest, first=first)
    return [Finding("warning", "reconstruction", where="tokens.safetensors", found=found, fix=fix)]


def _training_images(run: str | None) -> set[int]:
    """Return the images in the training banks of a run, and of the runs that it started from."""
    images: set[int] = set()
    data = None
    while run:
        manifest = read_damaged_manifest(Path(run)) or {}
        data = data or manifest.get("images")
        if manifest.get("images") != data:
            break  # trained on another data set, whose image numbers have another meaning
        for path in sorted(Path(run).glob("memory/*.safetensors")):
            try:
                with safe_open(path, framework="pt") as bank:
                    images |= set(bank.get_tensor("images").tolist())
            except (OSError, SafetensorError):
                continue  # `check_files` reports damaged files
        run = manifest.get("config", {}).get("init")
    return images


def _other_images(config: dict[str, Any]) -> list[Finding]:
    """Compare the images of the data set with those that the run was trained on."""
    run = read_damaged_manifest(Path(str(config.get("init"))))
    images = Path(str(config.get("source"))) / "images.npy"
    if run is None or "images" not in run or not images.exists():
        return []
    data = read_damaged_manifest(images.parent) or {"files": {}}
    stored = data["files"].get("images.npy", {}).get("sha256") or hash_file(images)
    if stored == run["images"]:
        return []
    where = str(config.get("init"))
    found = "the run was trained on other images, so image numbers have another meaning"
    fix = f"mindeye2 reconstruct --source the data set of {where}"
    return [Finding("error", "reconstruction", where=where, found=found, fix=fix)]


def _tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield tensors one by one, so that a checkpoint is never in memory as a whole."""
    try:
        with safe_open(path, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - not a mapping
                yield name, stored.get_tensor(name)
    except (OSError, SafetensorError):
        return  # `check_files` reports damaged files
