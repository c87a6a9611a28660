"""Trials in MindEye2's WebDataset tar files: one array of 17 numbers per trial."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from mindeye2.core.errors import ArtifactError

__all__ = ["read_tar"]

BEHAVIOUR = (
    *("73k", "subject", "session", "run", "trial", "global_trial", "time", "isold", "iscorrect"),
    *("rt", "changemind", "isoldcurrent", "iscorrectcurrent", "total1", "total2", "button"),
    "shared1000",
)
"""The numbers of ``behav.npy``; images and global trials are counted from 0."""

_COUNTED = ("73k", "subject", "session", "run", "trial", "global_trial", "shared1000")


def read_tar(path: Path) -> pd.DataFrame:
    """Read the trials of one tar file; behavioural values of -1 become NaN."""
    try:
        rows = list(_samples(path))
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise ArtifactError(
            f"{path} ({path.stat().st_size if path.exists() else 0} bytes) is damaged or holds "
            f"something else than trials: {error!r}. Remove it and download it again."
        ) from error
    if not rows:
        raise ArtifactError(
            f"{path} holds no behav.npy, so no trial. Take the tar files of wds/ as published."
        )
    table = pd.DataFrame(np.stack(rows), columns=list(BEHAVIOUR))
    behaviour = [c for c in BEHAVIOUR if c not in _COUNTED]
    table[behaviour] = table[behaviour].where(table[behaviour] != -1)
    return table.astype(dict.fromkeys(_COUNTED, np.int64))


def _samples(path: Path) -> Iterator[np.ndarray]:
    with tarfile.open(path) as archive:
        for member in archive:
            # WebDataset's rule: the key ends at the first dot of the file's name.
            if Path(member.name).name.partition(".")[2] != "behav.npy":
                continue
            file = archive.extractfile(member)
            assert file is not None
            values = np.load(io.BytesIO(file.read()), allow_pickle=False).ravel()
            if values.shape != (len(BEHAVIOUR),) or not np.isfinite(values).all():
                raise ValueError(f"{member.name} holds {values.shape} numbers, not 17 finite ones")
            yield values.astype(np.float64)
