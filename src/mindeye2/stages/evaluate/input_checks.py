"""What is refused before anything is scored: images that do not fit each other or a metric."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mindeye2.core.artifacts import resolve_path
from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared import Prepared, open_prepared
from mindeye2.stages.evaluate.decoded import Decoded

__all__ = ["check_decoded"]

_BATCH = 100


def check_decoded(decoded: Decoded, *, data: Path | None) -> None:
    """Refuse reconstructions that cannot be scored; `data` is the data set that was given."""
    _check_rows(decoded)
    _check_same_images(decoded, given=data is not None)
    for kind, path in decoded.files.items():
        _check_file(path, kind=kind, n=len(decoded.images))
    if decoded.files:
        _check_varying(decoded)


def _check_rows(decoded: Decoded) -> None:
    images, table = decoded.images, decoded.folder / "items.parquet"
    if len(images) < 2 and not decoded.prepared.known_images:
        raise ValueError(
            f"{table} lists {len(images)} test image{'s' * (len(images) != 1)}: scores that "
            "compare images, and intervals, need at least 2. Hold out more images when preparing "
            "the data, e.g. --set table.splits.test=0.2."
        )
    twice = sorted({i for i in images if images.count(i) > 1})
    if twice:
        raise ArtifactError(
            f"{table} lists {_named(twice)} more than once. Average repeats before "
            "reconstructing, as 'mindeye2 reconstruct' does."
        )
    n = decoded.prepared.n_images
    outside = [i for i in images if not 0 <= i < n]
    if outside:
        raise ArtifactError(
            f"{table} lists {_named(outside)}, but {decoded.prepared.folder} has {n} images, 0 to "
            f"{n - 1}. Give the data set that was reconstructed with --data."
        )


def _check_same_images(decoded: Decoded, *, given: bool) -> None:
    """Refuse another data set, or another order of images, than was reconstructed."""
    source = decoded.manifest["config"].get("source")
    recorded = decoded.manifest.get("images_sha256")
    if recorded is None and given and source is not None:  # of an earlier version
        try:
            original: Prepared = open_prepared(resolve_path(source, folder=decoded.folder))
        except ArtifactError:
            return  # it moved, which is what --data is for
        recorded = original.images_hash
    if recorded not in (None, decoded.prepared.images_hash):
        raise ArtifactError(
            f"{decoded.prepared.folder} holds other images, or the same in another order, than "
            f"the data set that {decoded.folder} was reconstructed from ({source}): scores would "
            "compare each reconstruction with another image. Give that data set with --data."
        )


def _check_file(path: Path, *, kind: str, n: int) -> None:
    stored = np.load(path, mmap_mode="r")
    if stored.ndim != 4 or stored.shape[3] != 3 or stored.dtype != np.uint8:
        raise ArtifactError(
            f"{path} must hold 8-bit RGB images, (images, height, width, 3) from 0 to 255, got "
            f"{stored.dtype} values of the shape {stored.shape}. Write images in [0, 1] as "
            "(images * 255).round().astype('uint8'), once none of them is NaN."
        )
    if len(stored) != n:
        raise ArtifactError(
            f"{path} has {len(stored)} images, but items.parquet beside it lists {n}. Row i of "
            f"both belongs to one image: reconstruct again, or remove {kind!r}."
        )


def _check_varying(decoded: Decoded) -> None:
    images, constant = decoded.images, []
    for start in range(0, len(images), _BATCH):
        rows = images[start : start + _BATCH]
        stimuli = np.asarray(decoded.prepared.images[rows]).reshape(len(rows), -1)
        alike = (stimuli == stimuli[:, :1]).all(axis=1)
        constant += [row for row, same in zip(rows, alike, strict=True) if same]
    if constant:
        raise ValueError(
            f"{_named(constant)} of {decoded.prepared.folder} "
            f"{'is' if len(constant) == 1 else 'are'} of a single grey value, so that no pixel "
            "correlation with it exists. Leave constant images out of the test set when preparing "
            "the data."
        )


def _named(images: Sequence[int]) -> str:
    more = ", ..." if len(images) > 5 else ""
    return f"image{'s' * (len(images) > 1)} {', '.join(map(str, images[:5]))}{more}"
