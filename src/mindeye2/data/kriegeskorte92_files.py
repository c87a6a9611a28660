"""Files of the 92 photographs and of the correlation distances between the responses to them."""

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from mindeye2.core.errors import ArtifactError

__all__ = ["PUBLISHED", "Responses92", "load_kriegeskorte92"]

PUBLISHED = ("92_brainRDMs.mat", "Kriegeskorte_Neuron2008_supplementalData.mat")
"""The published files: distances, and photographs with labels."""

_SOURCE = (
    f"Download {PUBLISHED[0]} and {PUBLISHED[1]} (about 4 MB) from demos/92imageData of the "
    "GitHub repository rsagroup/rsatoolbox (MIT licence) into one folder and give that folder; "
    "the data are not part of this package, see docs/kriegeskorte92.md."
)


class Responses92(NamedTuple):
    """What the files hold."""

    images: UInt8[np.ndarray, "images height width rgb"]
    """The photographs."""

    rdm: Float[np.ndarray, "..."]
    """1 - Pearson correlation between the responses to any two photographs."""

    category: list[str]
    """One label per photograph."""


def load_kriegeskorte92(source: Path) -> Responses92:
    """Load photographs, distances and labels.

    Parameters
    ----------
    source
        The folder with the two published MATLAB files (`PUBLISHED`), or one ``.npz`` file with
        arrays ``images``, ``rdm`` and ``category``, or the folder of a ``kriegeskorte92.npz``.

    Returns
    -------
    Responses92
        Checked for shapes, not for values.

    Raises
    ------
    ArtifactError
        If a file is missing, damaged, or holds something else.
    """
    if (source / "kriegeskorte92.npz").is_file():
        source = source / "kriegeskorte92.npz"
    needed = [source / name for name in PUBLISHED] if source.is_dir() else [source]
    missing = [str(path) for path in needed if not path.exists()]
    if missing:
        raise ArtifactError(f"{' and '.join(missing)} does not exist. {_SOURCE}")
    try:
        arrays = _from_matlab(source) if source.is_dir() else _from_numpy(source)
    # SciPy reports a damaged file by whichever of these its parser runs into.
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

    # A MATLAB struct array (1, people, sessions), and another (1, images), each of single arrays.
    distances = loadmat(folder / PUBLISHED[0], variable_names=["RDMs"])["RDMs"]["RDM"]
    stimuli = loadmat(folder / PUBLISHED[1], variable_names=["stimuli_92objs"])["stimuli_92objs"]
    _, n_people, n_sessions = distances.shape
    matrices = np.stack([np.asarray(d, np.float64) for d in distances.ravel()])
    return {
        "images": np.stack(list(stimuli["image"].ravel())),
        "rdm": matrices.reshape(n_people, n_sessions, *matrices.shape[1:]),
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
        "rdm": "(people, sessions, images, images)",
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
