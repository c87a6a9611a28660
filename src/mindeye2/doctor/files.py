"""Files: missing, truncated, corrupt or strange ones, by the manifest's sizes and hashes."""

import contextlib
import json
from pathlib import Path
from typing import Any

from mindeye2.core.artifacts import SCHEMA, hash_file, resolve_path
from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import progress
from mindeye2.doctor.finding import Finding, first_few, remake, repair

__all__ = ["check_files", "check_manifest", "read_loosely"]

CHECK = "files"


def read_loosely(folder: Path) -> dict[str, Any] | None:
    """Read a manifest even where its folder is damaged.

    Parameters
    ----------
    folder
        The folder.

    Returns
    -------
    dict or None
        The manifest, or None if there is none that lists files.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        return None
    for name in {"source", "init"} & manifest.get("config", {}).keys():
        with contextlib.suppress(ArtifactError, TypeError):  # None, or no longer there
            found = resolve_path(manifest["config"][name], folder=folder)
            manifest["config"][name] = str(found)
    return manifest


def check_manifest(folder: Path) -> list[Finding]:
    """Say why a folder has no readable manifest.

    Parameters
    ----------
    folder
        A folder for which `read_loosely` gave None.

    Returns
    -------
    list of Finding
        One error.
    """
    if (folder / "manifest.json").exists():
        found = "manifest.json is damaged: it does not list the files of a finished stage"
        mend = "make the folder again with the command that made it"
    elif (folder / "config.yaml").exists():
        found = "has settings but no manifest.json: its stage was interrupted"
        mend = f"run the same command again with: --out {folder} --resume"
    else:
        found = "no manifest.json here or one folder below: nothing that this package finished"
        mend = "give a folder that a stage of mindeye2 filled, or run: mindeye2 prepare --help"
    return [Finding(level="error", check=CHECK, where=str(folder), found=found, mend=mend)]


def check_files(folder: Path, manifest: dict[str, Any], *, hashes: bool) -> list[Finding]:
    """Compare the files of a folder with its manifest.

    Parameters
    ----------
    folder
        The folder.
    manifest
        Its manifest.
    hashes
        Read every file and compare its SHA-256; else sizes only.

    Returns
    -------
    list of Finding
        One per damaged file, or that all are sound.
    """
    findings = [_schema(folder, manifest)] if manifest.get("schema") != SCHEMA else []
    sound = 0
    files = manifest["files"]
    for name in progress(files, label="hashes" if hashes else "sizes"):
        damage = _damage(folder / name, files[name], hashes=hashes)
        if damage:
            mend = repair(manifest, folder, name)
            findings.append(
                Finding(level="error", check=CHECK, where=name, found=damage, mend=mend)
            )
        else:
            sound += files[name]["bytes"]
    strange = sorted(
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and not _is_known(p.relative_to(folder), files)
    )
    if strange:
        found = f"files that the manifest does not list: {first_few(strange)}"
        findings.append(Finding(level="note", check=CHECK, where=str(folder), found=found))
    if not any(f.level == "error" for f in findings):
        how = "sizes and SHA-256" if hashes else "sizes"
        found = f"{len(files)} files, {_size(sound)}: {how} as written"
        findings.append(Finding(level="ok", check=CHECK, where=str(folder), found=found))
    return findings


def _schema(folder: Path, manifest: dict[str, Any]) -> Finding:
    return Finding(
        level="error",
        check=CHECK,
        where=str(folder),
        found=f"has format {manifest.get('schema')}, this version reads {SCHEMA}",
        mend=remake(manifest),
    )


def _damage(path: Path, facts: dict[str, Any], *, hashes: bool) -> str:
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != facts["bytes"]:
        how = "truncated" if size < facts["bytes"] else "longer than written"
        return f"is {how}: {size} bytes, but {facts['bytes']} were written"
    if hashes and hash_file(path) != facts["sha256"]:
        return "was changed after it was sealed, or its disk is failing: its SHA-256 differs"
    return ""


def _is_known(path: Path, files: dict[str, Any]) -> bool:
    """Hidden files and the state of unfinished runs are never sealed."""
    return (
        path.as_posix() in {*files, "manifest.json"}
        or "state" in path.parts[:-1]
        or any(part.startswith(".") for part in path.parts)
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.0f} MiB" if n_bytes < 2**30 else f"{n_bytes / 2**30:.1f} GiB"
