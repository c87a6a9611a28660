"""Outputs of the released notebooks (``evals/MODEL/*.pt``), as reconstructions to score."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from mindeye2.core.artifacts import (
    claim_folder,
    hash_file,
    keep_settings,
    record_path,
    write_manifest,
)
from mindeye2.core.errors import ArtifactError
from mindeye2.core.tensors import save_tensors
from mindeye2.data.prepared import Prepared, open_prepared
from mindeye2.encoders.bank import to_float
from mindeye2.generation.blend import blend
from mindeye2.released.checkpoints import read_pickle
from mindeye2.stages.reconstruct.inference import to_uint8

__all__ = ["import_evals", "is_evals"]

_SIZE = 256
"""Side at which the released evaluation blends and compares images."""

_IMAGES = {"recons": "unclip", "enhancedrecons": "refined", "blurryrecons": "lowlevel"}
"""Released name of an output -> file of reconstructions."""

_CAPTIONS = {"reference": "all_captions.pt", "git_caption": "all_git_generated_captions.pt"}
"""Column of ``items.parquet``: file of captions beside the folders of models."""

_SAME_IMAGE = 0.9
"""Pixel correlation above which two resized copies show one image."""


def is_evals(folder: Path) -> bool:
    """Return whether a folder holds outputs of the released notebooks."""
    return any(next(Path(folder).glob(f"*_all_{name}.pt"), None) for name in _IMAGES)


def import_evals(
    source: Path,
    *,
    data: Path,
    out: Path,
    resume: bool = False,
    echo: Callable[[str], None] = print,
) -> Path:
    """Import outputs of the released notebooks as a folder that ``mindeye2 evaluate`` scores.

    Parameters
    ----------
    source
        Folder with ``*_all_recons.pt``, ``*_all_enhancedrecons.pt``, ``*_all_blurryrecons.pt``,
        ``*_all_predcaptions.pt`` and ``*_all_clipvoxels.pt``, any of which may be missing. Its
        name, or those of its files, name the subject. Reference captions (``all_captions.pt``)
        and GIT's of the seen images (``all_git_generated_captions.pt``) are taken from there or
        from the folder above.
    data
        Prepared data set with the same test images. Retrieval is scored where it has targets of
        the encoder ``bigg``.
    out
        Folder to fill.
    resume
        Fill a folder that an interrupted import left behind.
    echo
        Prints which outputs cannot be scored.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    ArtifactError
        If a file cannot be read, or the test images are others than those of the data set.
    ValueError
        If no subject is named, or the data set has no such subject.
    """
    source, prepared = Path(source), open_prepared(data)
    files = {p.stem.rpartition("_all_")[2]: p for p in sorted(source.glob("*_all_*.pt"))}
    names = [source.resolve().name, *(p.name for p in files.values())]
    found = next((m for name in names if (m := re.search(r"subj\d\d", name))), None)
    if found is None:
        raise ValueError(f"neither {source} nor its files name a subject, e.g. subj01. Rename it.")
    subject = found[0]
    trials = prepared.trials_of(subject, "test")
    # The released order: image numbers of NSD, ascending.
    tests = trials.groupby("source_image")["image"].agg(["first", "size"]).sort_index()
    values = {name: read_pickle(path) for name, path in files.items()}
    for name, value in values.items():
        if len(value) != len(tests):
            raise ArtifactError(
                f"{files[name]} has {len(value)} rows, but the test set of {subject} in "
                f"{prepared.folder} has {len(tests)} images. Prepare the test set of these files."
            )
    images = tests["first"].tolist()
    _check_stimuli(source, prepared, images)

    out = claim_folder(out, resume=resume)
    config = {"source": record_path(data, folder=out), "init": str(source)}
    keep_settings(out, config)
    outputs = {ours: _resize(values[name]) for name, ours in _IMAGES.items() if name in values}
    best = outputs.get("refined", outputs.get("unclip"))
    if best is not None and "lowlevel" in outputs:
        outputs["blended"] = blend(best, outputs["lowlevel"])
    for name, rgb in outputs.items():
        np.save(out / f"{name}.npy", to_uint8(rgb))
    items = pd.DataFrame({"image": images, "n_repeats": tests["size"].to_numpy()})
    if "predcaptions" in values:
        items["caption"] = [str(caption) for caption in values["predcaptions"]]
    for column, values_of in _captions_beside(source, n_images=len(tests)).items():
        items[column] = values_of
    items.to_parquet(out / "items.parquet", index=False)
    if "clipvoxels" in values and not (prepared.folder / "targets" / "bigg").is_dir():
        echo(f"retrieval is not scored: {prepared.folder} has no targets of the encoder 'bigg'.")
    elif "clipvoxels" in values:
        true = torch.from_numpy(prepared.targets("bigg")[images])
        tokens = {"retrieval": values["clipvoxels"].half(), "true": true}
        save_tensors(tokens, out / "tokens.safetensors")
    return write_manifest(
        out,
        stage="reconstruct",
        config=config,
        label=prepared.manifest.get("label", ""),
        subject=subject,
        training_images=prepared.images_of("train").tolist(),
        source_files={path.name: hash_file(path) for path in files.values()},
    )


def _captions_beside(source: Path, *, n_images: int) -> dict[str, list[str]]:
    """Read the published references and GIT's captions of the seen images, where they are."""
    found = {}
    for column, name in _CAPTIONS.items():
        path = next((p / name for p in _parents(source) if (p / name).exists()), None)
        if path is None:
            continue
        found[column] = [str(caption).strip() for caption in read_pickle(path)]
        if len(found[column]) != n_images:
            raise ArtifactError(
                f"{path} has {len(found[column])} captions for {n_images} test images."
            )
    return found


def _parents(source: Path) -> tuple[Path, Path]:
    return source, source.resolve().parent


def _resize(images: Any) -> Float[Tensor, "batch rgb height width"]:  # noqa: ANN401 - a pickle's
    """Resize as the released evaluation does: bilinear, without antialiasing."""
    resized = F.interpolate(images.float(), (_SIZE, _SIZE), mode="bilinear", antialias=False)
    return resized.clamp(0, 1)


def _check_stimuli(source: Path, prepared: Prepared, images: list[int]) -> None:
    """Compare the test images with those published beside the outputs, where they exist."""
    path = next(
        (p / "all_images.pt" for p in _parents(source) if (p / "all_images.pt").exists()),
        None,
    )
    if path is None:
        return
    theirs = read_pickle(path)
    side = (32, 32)
    preds = F.interpolate(theirs.float(), side, mode="area").flatten(1)
    targets = F.interpolate(to_float(prepared.images[images]), side, mode="area").flatten(1)
    if len(preds) != len(targets):
        raise ArtifactError(f"{path} has {len(preds)} images, {prepared.folder} {len(targets)}.")
    matches = torch.cosine_similarity(
        preds - preds.mean(1, keepdim=True), targets - targets.mean(1, keepdim=True)
    )
    if (matches < _SAME_IMAGE).any():
        row = int(matches.argmin())
        raise ArtifactError(
            f"{path} and the test images of {prepared.folder} differ in "
            f"{int((matches < _SAME_IMAGE).sum())} of {len(matches)} rows (row {row}: correlation "
            f"{matches[row]:.2f}). Give the data set that these outputs are of."
        )
