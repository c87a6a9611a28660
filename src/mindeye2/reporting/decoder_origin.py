"""Where a decoder comes from: its run, published weights, or imported outputs."""

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from mindeye2.core.artifacts import read_manifest, resolve_path
from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import available_cores
from mindeye2.data.prepared import Prepared

__all__ = ["decoder_name", "model_manifests", "own_runs", "provenance", "run_folder"]


def model_manifests(reconstructed: dict[str, Any], decoded: Path) -> list[dict[str, Any]]:
    """Return the manifest of a run, those of imported weights, or one for imported outputs."""
    recorded = str(reconstructed["config"]["init"])
    if "source_files" in reconstructed:
        hashes = sorted(str(h) for h in reconstructed["source_files"].values())
        outputs = {"stage": "import", "kind": "imported outputs", "source": Path(recorded).name}
        terms = {"sha256": hashes[0], "licence": "that of their publisher", "config": {}}
        return [{**outputs, **terms, "mindeye2": reconstructed["mindeye2"]}]
    init = resolve_path(recorded, folder=decoded)
    inner = sorted(p for p in init.iterdir() if p.is_dir()) if init.is_dir() else []
    imported = [p for p in (init, *inner) if _is_import(p)]
    return [read_manifest(p, stage="import") for p in imported] or [
        read_manifest(init, stage="train")
    ]


def _is_import(folder: Path) -> bool:
    path = folder / "manifest.json"
    return path.exists() and json.loads(path.read_text()).get("stage") == "import"


def decoder_name(manifest: Mapping[str, Any]) -> str:
    """Return the recipe of a run, or the file name of imported weights."""
    return str(manifest["config"].get("recipe") or manifest["source"])


def run_folder(reconstructed: Mapping[str, Any], decoded: Path) -> Path:
    """Return the folder of the run; outputs of others name what they were imported from."""
    recorded = str(reconstructed["config"]["init"])
    return (
        Path(recorded)
        if "source_files" in reconstructed
        else resolve_path(recorded, folder=decoded)
    )


def own_runs(reconstructed: Mapping[str, Any], decoded: Path) -> dict[str, Path]:
    """Return the run, and the pretrained run that it started from, by recipe."""
    runs: dict[str, Path] = {}
    folder: Path | None = run_folder(reconstructed, decoded)
    while folder is not None and (folder / "steps.jsonl").exists():
        config = read_manifest(folder, stage="train")["config"]
        runs[config["recipe"]] = folder
        before = config.get("init")
        try:
            folder = resolve_path(str(before), folder=folder) if before else None
        except ArtifactError:  # moved away; its curves are left out
            folder = None
    return dict(reversed(runs.items()))


def provenance(model: Sequence[Mapping[str, Any]], prepared: Prepared) -> dict[str, str]:
    """Return date, versions, recipes or weights, data set and machine, by the name to show."""
    facts = {"date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")}
    facts["mindeye2"] = str(model[0]["mindeye2"])
    for manifest in model:
        if manifest["stage"] == "train":
            facts["recipe"] = str(manifest["config"]["recipe"])
            facts["seed"] = str(manifest["config"]["seed"])
        else:
            facts[f"weights: {manifest['kind']}"] = (
                f"{manifest['source']}, sha256 {manifest['sha256'][:12]}, {manifest['licence']}"
            )
    return facts | {
        "data set": str(prepared.manifest["config"].get("kind", prepared.folder.name)),
        "machine": f"{platform.machine()}, {available_cores()} cores, torch {torch.__version__}",
    }
