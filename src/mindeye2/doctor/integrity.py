"""Files that are missing, truncated, corrupt or unknown, by the manifest's sizes and hashes."""

import contextlib
import json
from pathlib import Path
from typing import Any

from mindeye2.core.artifacts import SCHEMA, hash_file, resolve_path
from mindeye2.core.errors import ArtifactError
from mindeye2.core.failures import describe_failure
from mindeye2.core.runtime import progress
from mindeye2.doctor.finding import Finding, first_few, rerun_command, restore_command

__all__ = ["check_files", "check_manifest", "read_damaged_manifest"]

CHECK = "files"


def read_damaged_manifest(folder: Path) -> dict[str, Any] | None:
    """Read the manifest of a damaged folder, with paths resolved; None if it lists no files."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        return None
    for name in {"source", "init"} & manifest.get("config", {}).keys():
        with contextlib.suppress(ArtifactError, TypeError):  # None, or no longer there
            manifest["config"][name] = str(resolve_path(manifest["config"][name], folder=folder))
    return manifest


def check_manifest(folder: Path) -> list[Finding]:
    """Report why a folder has no readable manifest."""
    if (folder / "manifest.json").exists():
        found = "manifest.json is damaged: it does not list the files of a finished stage"
        fix = "run the command that wrote the folder again"
    elif failure := describe_failure(folder):
        found, fix = f"is unfinished: {failure}", "correct what the error names, and run it again"
        if failure.endswith("--resume."):
            fix = f"run the same command again with: --out {folder} --resume"
    elif (folder / "config.yaml").exists():
        found = "has settings but no manifest.json: its stage was interrupted"
        fix = f"run the same command again with: --out {folder} --resume"
    else:
        found = "no manifest.json here or one folder below: no finished stage of mindeye2"
        fix = "give a folder that a stage of mindeye2 wrote, or run: mindeye2 prepare --help"
    return [Finding("error", CHECK, where=str(folder), found=found, fix=fix)]


def check_files(folder: Path, manifest: dict[str, Any], *, hashes: bool) -> list[Finding]:
    """Compare sizes and, with `hashes`, SHA-256 of the files with the manifest."""
    findings = []
    if manifest.get("schema") != SCHEMA:
        found = f"has format {manifest.get('schema')}, this version reads {SCHEMA}"
        fix = rerun_command(manifest)
        findings.append(Finding("error", CHECK, where=str(folder), found=found, fix=fix))
    n_bytes = 0
    files = manifest["files"]
    for name in progress(files, label="hashes" if hashes else "sizes"):
        n_bytes += files[name]["bytes"]
        damage = _damage(folder / name, files[name], hashes=hashes)
        if damage:
            fix = restore_command(manifest, folder, name)
            findings.append(Finding("error", CHECK, where=name, found=damage, fix=fix))
    unknown = sorted(
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and not _is_known(p.relative_to(folder), files)
    )
    if not findings:
        what = "sizes and SHA-256" if hashes else "sizes"
        found = f"{len(files)} files, {_size(n_bytes)}: {what} as written"
        findings.append(Finding("ok", CHECK, where=str(folder), found=found))
    if unknown:
        found = f"files that the manifest does not list: {first_few(unknown)}"
        findings.append(Finding("note", CHECK, where=str(folder), found=found))
    return findings


def _damage(path: Path, facts: dict[str, Any], *, hashes: bool) -> str:
    """Return how a file differs from its manifest entry, or nothing."""
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != facts["bytes"]:
        how = "truncated" if size < facts["bytes"] else "longer than written"
        return f"is {how}: {size} bytes, but {facts['bytes']} were written"
    if hashes and hash_file(path) != facts["sha256"]:
        return "was changed after its stage finished, or the disk is failing: its SHA-256 differs"
    return ""


def _is_known(path: Path, files: dict[str, Any]) -> bool:
    """Return whether a file is listed, hidden, or state of an unfinished run."""
    return (
        path.as_posix() in {*files, "manifest.json"}
        or "state" in path.parts[:-1]
        or any(part.startswith(".") for part in path.parts)
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.0f} MiB" if n_bytes < 2**30 else f"{n_bytes / 2**30:.1f} GiB"
