"""Files of the 92 photographs and the correlation distances between responses to them."""

import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from mindeye2.core.errors import ArtifactError

__all__ = ["PUBLISHED", "TERMS", "Responses92", "download_published", "load_kriegeskorte92"]

PUBLISHED = ("92_brainRDMs.mat", "Kriegeskorte_Neuron2008_supplementalData.mat")
"""The published files: distances, and photographs with labels."""

ADDRESSES = {
    PUBLISHED[0]: "https://raw.githubusercontent.com/rsagroup/rsatoolbox/"
    f"a019e37ee631456aa99425efb33cb4e26e9ea181/demos/92imageData/{PUBLISHED[0]}",
    PUBLISHED[1]: "https://raw.githubusercontent.com/rsagroup/rsatoolbox/"
    f"9ac4b5cdcb702c02481cabba33c551d187d50b6c/demos/92imageData/{PUBLISHED[1]}",
}
"""Addresses of the published files, at fixed commits."""

TERMS = (
    "Data of Kriegeskorte et al. 2008 (Neuron 60:1126), published with rsatoolbox "
    "(github.com/rsagroup/rsatoolbox, MIT licence). Cite the paper where you use them."
)
"""Shown before a download and whenever the data are read."""

_LARGEST = 64e6
"""Bytes; a larger answer is not one of the files, which have about 4 MB together."""

_SOURCE = (
    f"Download {PUBLISHED[0]} and {PUBLISHED[1]} (about 4 MB) from demos/92imageData of the "
    "GitHub repository rsagroup/rsatoolbox (MIT licence) into one folder and give that folder, or "
    "let --set kriegeskorte92.download=true do it; the data are not part of this package."
)


def _to_stderr(text: str) -> None:
    sys.stderr.write(text)


def download_published(folder: Path, *, log: Callable[[str], object] = _to_stderr) -> None:
    """Download the missing files, terms, addresses and sizes first; a given file needs none."""
    missing = [name for name in PUBLISHED if not (folder / name).exists()]
    if not missing or folder.is_file() or (folder / "kriegeskorte92.npz").is_file():
        return
    log(f"{TERMS}\n")
    folder.mkdir(parents=True, exist_ok=True)
    for name in missing:
        address = ADDRESSES[name]
        partial = folder / f".{name}"
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                size = int(answer.headers["Content-Length"] or 0)
                log(f"{address}: {size / 1e6:.1f} MB, to {folder / name}\n")
                if size > _LARGEST:
                    raise ArtifactError(f"{address} has {size} bytes, more than was published.")
                content = answer.read()
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise ArtifactError(
                f"{address} cannot be reached ({error}). On a machine with internet, download "
                f"it, and put it into {folder}."
            ) from error
        if not content or (size and len(content) != size):
            raise ArtifactError(
                f"{address} gave {len(content)} of {size} bytes. Try again: complete files stay."
            )
        partial.write_bytes(content)
        partial.replace(folder / name)


class Responses92(NamedTuple):
    """Photographs, distances and labels."""

    images: UInt8[np.ndarray, "images height width rgb"]
    """The photographs."""

    rdm: Float[np.ndarray, "..."]
    """1 - Pearson correlation between the responses to two photographs."""

    category: list[str]
    """One label per photograph."""


def load_kriegeskorte92(source: Path) -> Responses92:
    """Load photographs, distances and labels; arrays are checked for shapes, not for values."""
    if (source / "kriegeskorte92.npz").is_file():
        source = source / "kriegeskorte92.npz"
    needed = [source / name for name in PUBLISHED] if source.is_dir() else [source]
    missing = [str(path) for path in needed if not path.exists()]
    if missing:
        raise ArtifactError(f"{' and '.join(missing)} does not exist. {_SOURCE}")
    try:
        arrays = _from_matlab(source) if source.is_dir() else _from_numpy(source)
    # SciPy raises any of these for a damaged file.
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, TypeError) as error:
        raise ArtifactError(
            f"{source} is damaged or of another kind ({error}). {_SOURCE}"
        ) from error
    except KeyError as error:
        raise ArtifactError(f"{source} has no array {error}. {_SOURCE}") from error
    _check(source, arrays)
    return Responses92(
        images=arrays["images"],
        rdm=arrays["rdm"].astype(np.float64),
        category=[str(c) for c in arrays["category"]],
    )


def _from_numpy(path: Path) -> dict[str, Any]:
    # Given a path, NumPy leaves a damaged archive open.
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        missing = sorted({"images", "rdm", "category"} - set(file.files))
        if missing:
            raise KeyError(", ".join(missing))
        return {name: file[name] for name in ("images", "rdm", "category")}


def _from_matlab(folder: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    # MATLAB struct arrays (1, subjects, sessions) and (1, images), each of single arrays.
    distances = loadmat(folder / PUBLISHED[0], variable_names=["RDMs"])["RDMs"]["RDM"]
    stimuli = loadmat(folder / PUBLISHED[1], variable_names=["stimuli_92objs"])["stimuli_92objs"]
    _, n_subjects, n_sessions = distances.shape
    matrices = np.stack([np.asarray(d, np.float64) for d in distances.ravel()])
    return {
        "images": np.stack(list(stimuli["image"].ravel())),
        "rdm": matrices.reshape(n_subjects, n_sessions, *matrices.shape[1:]),
        "category": np.array([c.item() for c in stimuli["category"].ravel()]),
    }


def _check(source: Path, arrays: dict[str, Any]) -> None:
    n_images = len(arrays["images"])
    wanted = {
        "images": (n_images, None, None, 3),
        "rdm": (None, None, n_images, n_images),
        "category": (n_images,),
    }
    words = {
        "images": "(images, rows, columns, 3)",
        "rdm": "(subjects, sessions, images, images)",
        "category": "(images,)",
    }
    for name, shape in wanted.items():
        got = arrays[name].shape
        fits = len(got) == len(shape) and all(
            size in (given, None) and given for given, size in zip(got, shape, strict=True)
        )
        if not fits:
            raise ArtifactError(
                f"array {name!r} of {source} has shape {got}; it must be {words[name]}, with "
                f"{n_images} images as in 'images'. {_SOURCE}"
            )
    if arrays["images"].dtype != np.uint8:
        raise ArtifactError(
            f"array 'images' of {source} is {arrays['images'].dtype}; it must be uint8, RGB from "
            "0 to 255."
        )
