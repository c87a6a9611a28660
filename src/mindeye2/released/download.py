"""Download of published files from the Hugging Face hub, after agreement to their terms."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from mindeye2.core.artifacts import hash_file
from mindeye2.core.errors import ArtifactError, require
from mindeye2.released.published_files import PublishedFile

__all__ = ["check_disk", "fetch"]


def fetch(
    file: PublishedFile, *, out: Path, agreed: bool, echo: Callable[[str], None] = print
) -> Path:
    """Download a published file, or find it in the hub's cache.

    Parameters
    ----------
    file
        The file.
    out
        Folder for files that are used as published; others go to the hub's cache.
    agreed
        The user has agreed to the download.
    echo
        Prints size, licence, checksum and free disk before anything is downloaded.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ArtifactError
        If the hub cannot be reached, the disk is too full, or the downloaded file is damaged.
    ValueError
        If the user has not agreed yet.
    """
    hub: Any = require("huggingface_hub", extra="sdxl", purpose="Downloading a published file")
    where = {
        "repo_id": file.repository,
        "filename": file.path,
        "repo_type": file.repository_type,
    }
    kept = hub.try_to_load_from_cache(**where)
    if file.kind is not None and isinstance(kept, str):
        echo(f"{file.path}: already downloaded, {kept}")
        return Path(kept)
    size, sha256, terms = _request_facts(hub, file)
    cache = Path(hub.constants.HF_HUB_CACHE) if file.kind is not None else Path(out)
    echo(
        f"{file.path} of {file.repository}: {decimal(size)}, {file.purpose}.\n"
        f"licence: {file.licence}; the repository's page says {terms!r}.\n"
        f"sha256: {sha256 or 'not given by the hub'}\n"
        f"free on the disk of {cache}: {decimal(_free_bytes(cache))}"
    )
    check_disk(cache, size, what=f"downloading {file.path}")
    if not agreed:
        raise ValueError("nothing was downloaded. Add --yes to agree and download it.")
    options = {} if file.kind is not None else {"local_dir": str(out)}
    got = Path(hub.hf_hub_download(**where, **options))
    if sha256 is not None and hash_file(got) != sha256:
        raise ArtifactError(
            f"{got} has another sha256 than the hub gives ({sha256}). Delete it and download "
            "again."
        )
    return got


def check_disk(folder: Path, needed: int, *, what: str) -> None:
    """Raise an `ArtifactError` where less than `needed` bytes are free on a folder's disk."""
    free = _free_bytes(folder)
    if free < needed:
        raise ArtifactError(
            f"{what} needs {decimal(needed)} on the disk of {folder}, but {decimal(free)} are "
            "free. Free some space, or give a folder on another disk; nothing was written."
        )


def _free_bytes(folder: Path) -> int:
    """Return the free bytes of the disk of a folder, which need not exist yet."""
    folder = Path(folder).absolute()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    return shutil.disk_usage(existing).free


def _request_facts(hub: Any, file: PublishedFile) -> tuple[int, str | None, str]:  # noqa: ANN401
    """Request a file's size, sha256 and licence from the hub."""
    api = hub.HfApi()
    try:
        paths = api.get_paths_info(file.repository, [file.path], repo_type=file.repository_type)
        card = api.repo_info(file.repository, repo_type=file.repository_type).card_data
    except Exception as error:
        raise ArtifactError(
            f"the hub cannot be reached ({type(error).__name__}). On a machine with internet get "
            f"{file.url} (about {decimal(round(file.gigabytes * 1e9))}; licence: {file.licence}), "
            f"copy it here, and run: mindeye2 import {Path(file.path).name} --out FOLDER"
        ) from error
    if not paths:
        raise ArtifactError(
            f"{file.repository} has no {file.path} any more. Look at "
            f"https://huggingface.co/datasets/{file.repository}/tree/main for its new name."
        )
    lfs = getattr(paths[0], "lfs", None)
    sha256 = getattr(lfs, "sha256", None) if lfs is not None else None
    return int(paths[0].size), sha256, str(getattr(card, "license", None) or "nothing")
