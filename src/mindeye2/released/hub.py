"""Brain decoders in the layout of the Hugging Face hub: a folder with a model card."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub  # its names are loaded when they are used
import huggingface_hub.errors
from rich.filesize import decimal

from mindeye2.core.artifacts import MANIFEST
from mindeye2.core.errors import ArtifactError
from mindeye2.released.download import check_disk
from mindeye2.released.imported import find_imported, is_released
from mindeye2.released.opening import open_brain_decoder

__all__ = ["ExportedFolder", "export_folder", "pretrained_folder", "upload"]


@dataclass(frozen=True, kw_only=True)
class ExportedFolder:
    """A folder that `Decoder.from_pretrained` opens, here or from the hub."""

    path: Path
    """The folder."""

    n_bytes: int
    """Size of its files."""

    def __str__(self) -> str:
        """Describe the folder, and how it is opened."""
        return (
            f"{self.path}: {decimal(self.n_bytes)}, model card README.md\n"
            f"In Python: mindeye2.Decoder.from_pretrained({str(self.path)!r})"
        )


def export_folder(source: Path, *, out: Path) -> ExportedFolder:
    """Copy a brain decoder's files and write a model card beside them.

    Parameters
    ----------
    source
        Folder that ``mindeye2 train`` or ``mindeye2 import`` finished.
    out
        Folder to make.

    Returns
    -------
    ExportedFolder
        The folder.

    Raises
    ------
    ArtifactError
        If the source is unfinished or holds no brain decoder, `out` holds files, or the disk is
        too full.
    """
    source, out = Path(source), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ArtifactError(f"--out {out} exists and is not overwritten. Give a new name.")
    model = open_brain_decoder(source).model  # also tells an unfinished folder
    folder = find_imported(source)["mindeye"].parent if is_released(source) else source
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    n_bytes = sum(facts["bytes"] for facts in manifest["files"].values())
    check_disk(out.parent, n_bytes, what=f"exporting {source}")
    for name in manifest["files"]:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, out / name)
    card = _card(manifest, dict(model.ridge.n_voxels))
    card.save(out / "README.md")
    shutil.copyfile(folder / MANIFEST, out / MANIFEST)  # last: it says that the folder is whole
    return ExportedFolder(path=out, n_bytes=n_bytes)


def _card(manifest: dict[str, Any], n_voxels: dict[str, int]) -> "huggingface_hub.ModelCard":
    data = huggingface_hub.ModelCardData(
        library_name="mindeye2",
        tags=["fmri", "brain-decoding", "neuroscience", "mindeye2", "image-reconstruction"],
    )
    config = manifest["config"]
    if manifest["stage"] == "import":
        made = "Weights published by the authors of MindEye2, converted to safetensors."
    else:
        made = f"Trained with the recipe `{config.get('recipe', config.get('task'))}`."
    voxels = "\n".join(f"| {subject} | {count:,} |" for subject, count in n_voxels.items())
    bank = ""
    if any(name.startswith("memory/") for name in manifest["files"]):
        bank = (
            "\nThe folder `memory/` holds image tokens of training images, and captions where the "
            "data set has them: the terms of the data set apply to them.\n"
        )
    return huggingface_hub.ModelCard(f"""---
{data.to_yaml()}
---

# Brain decoder (MindEye2)

{made} It decodes z-scored fMRI betas of the subjects below to images, captions and retrieval with
[MindEye2](https://arxiv.org/abs/2403.11207) (Scotti et al., ICML 2024).

| subject | voxels |
|---|---|
{voxels}

```python
import mindeye2

decoder = mindeye2.Decoder.from_pretrained("THIS REPOSITORY OR FOLDER")
seen = decoder.decode(betas, subject="{next(iter(n_voxels), "subj01")}")
```

Betas are (images, voxels) or (images, repeats, voxels), z-scored for each voxel in each session,
with the voxels in the order of the training data. Other subjects are adapted to with
`mindeye2 train --recipe adapt --init FOLDER`.
{bank}
Written by mindeye2 {manifest["mindeye2"]}. `config.yaml` has the settings of the training and
`manifest.json` the hashes of all files.
""")


def pretrained_folder(name: str | Path, *, revision: str | None) -> Path:
    """Return a folder as it is, or download a repository of the hub into its cache.

    Raises ArtifactError if there is neither.
    """
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(huggingface_hub.snapshot_download(str(name), revision=revision))
    except huggingface_hub.errors.HFValidationError as error:
        raise ArtifactError(
            f"{name} is neither a folder nor the name of a repository (OWNER/NAME): give one that "
            "'mindeye2 train', 'mindeye2 import' or 'mindeye2 export' made."
        ) from error
    except (
        huggingface_hub.errors.HfHubHTTPError,
        huggingface_hub.errors.LocalEntryNotFoundError,
    ) as error:
        raise ArtifactError(
            f"{name} is no folder here, and could not be downloaded from the hub "
            f"({str(error).splitlines()[0]}). Check its name, 'hf auth login' for a private one, "
            "and the connection; or give a folder."
        ) from error


def upload(folder: Path, *, repository: str) -> str:
    """Upload an exported folder to a repository of the hub, private if it is new; return its URL.

    Raises ArtifactError if the hub refuses.
    """
    api = huggingface_hub.HfApi()
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=folder))
    except (
        huggingface_hub.errors.HfHubHTTPError,
        huggingface_hub.errors.HFValidationError,
        OSError,
    ) as error:
        raise ArtifactError(
            f"{folder} is written, but was not uploaded to {repository}: "
            f"{str(error).splitlines()[0]}. After 'hf auth login' upload it with: hf upload "
            f"{repository} {folder}"
        ) from error
