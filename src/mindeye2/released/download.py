"""Getting a published file from the Hugging Face hub, after saying what it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mindeye2.core.artifacts import hash_file
from mindeye2.core.errors import ArtifactError, require
from mindeye2.released.files import PublishedFile
from mindeye2.released.room import check_disk, free_disk, readable

__all__ = ["fetch"]


def fetch(
    file: PublishedFile, *, out: Path, agreed: bool, say: Callable[[str], None] = print
) -> Path:
    """Get a published file, or what an earlier download left of it.

    Parameters
    ----------
    file
        The file.
    out
        Where it is imported to, whose disk must hold it as well; files that are used as they are
        are put there themselves.
    agreed
        The user has agreed to the download.
    say
        Told what the file is before anything is downloaded.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ArtifactError
        If the hub cannot be reached, the disk is too full, or what came is damaged.
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
        say(f"{file.path}: already downloaded, {kept}")
        return Path(kept)
    size, sha256, terms = _ask_hub(hub, file)
    cache = Path(hub.constants.HF_HUB_CACHE) if file.kind is not None else Path(out)
    say(
        f"{file.path} of {file.repository}: {readable(size)}, {file.purpose}.\n"
        f"licence: {file.licence}; the repository's page says {terms!r}.\n"
        f"sha256: {sha256 or 'not told by the hub'}\n"
        f"free on the disk of {cache}: {readable(free_disk(cache))}"
    )
    check_disk(cache, size, what=f"downloading {file.path}")
    if not agreed:
        raise ValueError("nothing was downloaded. Add --yes to agree and download it.")
    options = {} if file.kind is not None else {"local_dir": str(out)}
    got = Path(hub.hf_hub_download(**where, **options))
    if sha256 is not None and hash_file(got) != sha256:
        raise ArtifactError(
            f"{got} has another sha256 than the hub says ({sha256}). Delete it and download again."
        )
    return got


def _ask_hub(hub: Any, file: PublishedFile) -> tuple[int, str | None, str]:  # noqa: ANN401
    """Return size, sha256 and licence as the hub says them now."""
    api = hub.HfApi()
    try:
        paths = api.get_paths_info(file.repository, [file.path], repo_type=file.repository_type)
        card = api.repo_info(file.repository, repo_type=file.repository_type).card_data
    except Exception as error:
        raise ArtifactError(
            f"the hub cannot be reached ({type(error).__name__}). On a machine with internet get "
            f"{file.url} (about {readable(file.gigabytes * 1e9)}; licence: {file.licence}), copy "
            f"it here, and run: mindeye2 import {Path(file.path).name} --out FOLDER"
        ) from error
    if not paths:
        raise ArtifactError(
            f"{file.repository} has no {file.path} any more. Look at "
            f"https://huggingface.co/datasets/{file.repository}/tree/main for its new name."
        )
    lfs = getattr(paths[0], "lfs", None)
    sha256 = getattr(lfs, "sha256", None) if lfs is not None else None
    return int(paths[0].size), sha256, str(getattr(card, "license", None) or "nothing")
