"""Folders that stages pass on, sealed by a manifest that is written last.

A folder without a manifest is unfinished and is not read. Nothing is ever pickled.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from mindeye2.core import __version__
from mindeye2.core.errors import ArtifactError
from mindeye2.core.failures import FAILURE, describe_failure, forget_failure, names_in
from mindeye2.core.folder_lock import lock_folder, unlock_folder

__all__ = [
    "SCHEMA",
    "claim_folder",
    "hash_file",
    "keep_settings",
    "read_manifest",
    "record_path",
    "resolve_path",
    "write_json",
    "write_manifest",
    "write_text",
]

SCHEMA = 1
"""Version of the folder formats."""

MANIFEST = "manifest.json"

_COMMANDS = {
    "prepare": "mindeye2 prepare KIND --source SOURCE --out NEW",
    "train": "mindeye2 train --recipe NAME --source DATA --out NEW",
    "reconstruct": "mindeye2 reconstruct --source DATA --init RUN --out NEW",
    "evaluate": "mindeye2 evaluate --source DECODED --out NEW",
    "report": "mindeye2 report --source SCORES --out NEW",
    "analyse": "mindeye2 analyse KIND --source DECODED --out NEW",
    "import": "mindeye2 import FILE --out NEW",
}
_FOLDERS = {"prepare": "DATA", "train": "RUN", "reconstruct": "DECODED", "evaluate": "SCORES"}


def write_text(path: Path, text: str) -> Path:
    """Write a UTF-8 file atomically, via a temporary file and rename; return `path`."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def write_json(path: Path, value: Any) -> Path:  # noqa: ANN401 - any JSON value
    """Write a value as indented JSON, atomically; return `path`."""
    return write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(
    folder: Path,
    *,
    stage: str,
    config: Mapping[str, Any],
    **facts: Any,  # noqa: ANN401
) -> Path:
    """Seal a finished folder: hash its files, write ``manifest.json`` atomically, and unlock it.

    Parameters
    ----------
    folder
        The folder that the stage has filled.
    stage
        Name of the stage, e.g. ``"reconstruct"``.
    config
        The resolved settings, as plain values.
    **facts
        Properties of the content that readers need, as plain values.

    Returns
    -------
    Path
        The manifest.
    """
    files = sorted(
        p
        for p in folder.rglob("*")
        if p.is_file()
        and p not in {folder / MANIFEST, folder / FAILURE}
        and _is_result(p.relative_to(folder))
    )
    manifest = {
        "schema": SCHEMA,
        "stage": stage,
        "mindeye2": __version__,
        "config": dict(config),
        **facts,
        "files": {
            p.relative_to(folder).as_posix(): {"sha256": hash_file(p), "bytes": p.stat().st_size}
            for p in files
        },
    }
    path = write_json(folder / MANIFEST, manifest)
    unlock_folder(folder)
    return path


def _is_result(path: Path) -> bool:
    """Return whether a file is listed: not the state of unfinished work, nor a hidden file."""
    return "state" not in path.parts[:-1] and not any(p.startswith(".") for p in path.parts)


def read_manifest(folder: Path, *, stage: str) -> dict[str, Any]:
    """Read the manifest of a folder that `stage` finished, and check its files' sizes.

    Raises ``ArtifactError`` if the folder is missing, unfinished, of another stage or format, or
    if a file is missing or has another size than the manifest lists.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ArtifactError(
            f"{folder} is not a folder. Give one that 'mindeye2 {stage}' finished."
        )
    path = folder / MANIFEST
    failure = None if path.exists() else describe_failure(folder)
    if failure:
        raise ArtifactError(f"{folder} is unfinished: {failure}")
    if not path.exists() and not (folder / "config.yaml").exists() and names_in(folder):
        kind = " KIND --source SOURCE" if stage == "prepare" else ""
        raise ArtifactError(
            f"{folder} was not made by 'mindeye2 {stage}': it has neither {MANIFEST} nor "
            f"config.yaml. Make a new folder with 'mindeye2 {stage}{kind} --out NEW' and give "
            "that."
        )
    if not path.exists():
        raise ArtifactError(
            f"{folder} has no {MANIFEST}: the stage {stage!r} did not finish there. "
            f"Run 'mindeye2 {stage} --out {folder} --resume' with the same options as before."
        )
    manifest = _parse_manifest(path, stage)
    if manifest.get("stage") != stage:
        made = str(manifest.get("stage"))
        command = _COMMANDS.get(stage, f"mindeye2 {stage}")
        if made in _FOLDERS:
            command = command.replace(_FOLDERS[made], str(folder))
        raise ArtifactError(
            f"{folder} was made by 'mindeye2 {made}', but a folder of 'mindeye2 {stage}' is "
            f"needed here. Make one with: {command}"
        )
    if manifest.get("schema") != SCHEMA:
        raise ArtifactError(
            f"{folder} has format {manifest.get('schema')}, this version reads {SCHEMA}. "
            f"Make it again with 'mindeye2 {stage}'."
        )
    for name, facts in manifest["files"].items():
        file = folder / name
        size = file.stat().st_size if file.exists() else None
        if size != facts["bytes"]:
            found = "is missing" if size is None else f"has {size} bytes"
            raise ArtifactError(
                f"{file} {found}, but {facts['bytes']} bytes were written. "
                f"The folder is damaged: make it again with 'mindeye2 {stage}'."
            )
    return manifest


def _parse_manifest(path: Path, stage: str) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # not JSON, or not even text
        manifest = None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ArtifactError(
            f"{path} is damaged: it does not list the files of a finished stage. "
            f"Make the folder again with 'mindeye2 {stage}'."
        )
    return manifest


def record_path(path: Path | str, *, folder: Path) -> str:
    """Return a path relative to `folder`, for its manifest; names of published weights stay."""
    if not Path(path).exists():
        return str(path)
    # Resolved, because ".." behind a symbolic link does not lead back through it.
    return os.path.relpath(Path(path).resolve(), Path(folder).resolve())


def resolve_path(recorded: str, *, folder: Path) -> Path:
    """Return the existing path that the manifest of `folder` records; see `record_path`.

    Folders of earlier versions recorded paths relative to the working directory. The result is
    relative to the working directory where it lies inside. Raises ``ArtifactError`` if the path
    does not exist.
    """
    inside = Path(folder).resolve() / recorded
    # A path with ".." is of this version; from the working directory it would be other data.
    if not inside.exists() and not recorded.startswith("..") and Path(recorded).exists():
        return Path(recorded)
    if not inside.exists():
        raise ArtifactError(
            f"{os.path.normpath(inside)} does not exist; {Path(folder) / MANIFEST} records it as "
            f"{recorded!r}, relative to its folder. Move it there again, or make {folder} again."
        )
    found, here = inside.resolve(), Path.cwd()
    return found.relative_to(here) if found.is_relative_to(here) else found


def claim_folder(out: Path, *, resume: bool) -> Path:
    """Create and lock an output folder, or an existing one that is empty or may be resumed.

    Raises ``ArtifactError`` if the folder holds files and `resume` is off, another process is
    filling it, or `out` is a file.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ArtifactError(f"--out {out} is a file. Give a folder.")
    if out.is_dir() and not resume and names_in(out) - {"config.yaml", FAILURE}:
        raise ArtifactError(
            f"--out {out} is not empty. Add --resume to go on with what is there, "
            "or give another folder."
        )
    out.mkdir(parents=True, exist_ok=True)
    if not (out / MANIFEST).exists():  # what is finished is not filled again
        lock_folder(out)
    forget_failure(out)
    return out


def keep_settings(
    folder: Path, config: Mapping[str, Any], *, may_change: Collection[str] = ()
) -> None:
    """Write ``config.yaml``, or refuse a folder that was started with other settings.

    Settings in `may_change`, at any depth, change no result and may differ.

    A folder with nothing but settings is from a command that failed before it wrote anything,
    e.g. by a mistyped source: its settings are replaced.
    """
    path = folder / "config.yaml"
    wanted = json.loads(json.dumps(dict(config)))
    started = path.exists() and bool(names_in(folder) - {path.name, FAILURE})
    before = yaml.safe_load(path.read_text()) if started else {}
    old, new = (_without(values, may_change) for values in (before, wanted))
    # A setting that an earlier version did not have is None there.
    names = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
    if started and names:
        raise ArtifactError(
            f"{folder} was started with other settings: {names} differ. "
            "Resume with the same settings, or give another --out."
        )
    write_text(path, yaml.safe_dump(dict(config), sort_keys=False))


def _without(values: Any, names: Collection[str]) -> Any:  # noqa: ANN401 - a tree of settings
    if not isinstance(values, Mapping):
        return values
    return {k: _without(v, names) for k, v in values.items() if k not in names}
