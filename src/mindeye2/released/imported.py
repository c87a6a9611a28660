"""Folders that ``mindeye2 import`` filled: which networks they hold."""

from collections.abc import Sequence
from pathlib import Path

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.released.published_files import PUBLISHED

__all__ = ["find_imported", "find_networks", "inner_folders", "is_released", "locate"]

WEIGHTS = Path("weights")
"""Where imported weights are looked for by name, in the working directory."""


def find_imported(folder: Path) -> dict[str, Path]:
    """Return the networks imported into a folder or its subfolders: kind of network -> its file.

    Raises ``ArtifactError`` if an import did not finish, or a kind was imported twice.
    """
    folder = Path(folder)
    return _find_in([folder, *inner_folders(folder)])


def find_networks(folder: Path) -> dict[str, Path]:
    """Find the networks other than brain decoders in a folder and in those inside it."""
    folders = [folder, *inner_folders(folder)]
    return _find_in([p for p in folders if not (p / "mindeye.safetensors").exists()])


def locate(name_or_folder: str | Path) -> Path:
    """Return the folder of a published brain decoder: as given, or by name in ``weights/``.

    Raises ``ArtifactError`` if there is none; for a published name with the download command.
    """
    folder, imported = Path(name_or_folder), WEIGHTS / str(name_or_folder)
    if folder.is_dir():
        return folder
    if imported.is_dir():
        return imported
    if str(name_or_folder) in PUBLISHED:
        raise ArtifactError(
            f"{imported} does not exist yet. 'mindeye2 import --released {name_or_folder} --out "
            f"{imported}' shows its size and licence, and downloads it; or give the folder it was "
            "imported into."
        )
    raise ArtifactError(
        f"{folder} is neither a folder that 'mindeye2 import' filled nor a published name. "
        f"Names: {sorted(PUBLISHED)}."
    )


def inner_folders(folder: Path) -> list[Path]:
    """Return the folders inside a folder, which need not exist."""
    return sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []


def _find_in(folders: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        files = list(folder.glob("*.safetensors")) if _is_import(folder) else []
        for file in sorted(files):
            if file.stem in found:
                raise ArtifactError(
                    f"{found[file.stem]} and {file} hold the same network. Give a folder with one "
                    "of them."
                )
            found[file.stem] = file
        if files:
            read_manifest(folder, stage="import")
    return found


def _is_import(folder: Path) -> bool:
    """Return whether ``mindeye2 import`` filled a folder, or started to."""
    path = folder / "manifest.json"
    return path.exists() and '"stage": "import"' in path.read_text(encoding="utf-8")


def is_released(folder: Path) -> bool:
    """Return whether a folder holds an imported brain decoder; it need not exist."""
    return "mindeye" in find_imported(folder)
