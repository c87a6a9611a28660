"""Arrays with one row per image that processes fill batch by batch, and that resume."""

import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mindeye2.core.artifacts import write_json

__all__ = ["PartialArrays"]


class PartialArrays:
    """Arrays of a folder with one row per image, filled batch by batch by any number of processes.

    Batches are cut alike whatever the number of processes, so that files are the same to the byte.
    A batch counts once its rows are on disk and its record in ``state/`` is written, so that a run
    that is killed at any moment is continued, also by another number of processes.

    Parameters
    ----------
    folder
        Where the arrays are: an array ``a`` is ``a.npy``.
    n_rows
        Rows of each array.
    batch_size
        Rows of a batch; the last one may have fewer.
    """

    def __init__(self, folder: Path, *, n_rows: int, batch_size: int) -> None:
        self._folder = folder
        self._n_rows = n_rows
        self._state = folder / "state"
        self._batches = [
            slice(start, min(start + batch_size, n_rows)) for start in range(0, n_rows, batch_size)
        ]

    def begin(self, key: Mapping[str, Any]) -> None:
        """Forget batches of another `key`, or whose arrays are gone; for one process, first."""
        wanted = {**key, "n_rows": self._n_rows}
        path = self._state / "key.json"
        known = path.exists() and json.loads(path.read_text(encoding="utf-8")) == wanted
        records = [self._read(rows) for rows in self._batches if self._record(rows).exists()]
        names = {name for record in records for name in record["arrays"]}
        if not known or not all((self._folder / f"{name}.npy").exists() for name in names):
            self.remove_state()
            self._state.mkdir(parents=True)
            write_json(path, wanted)

    def missing(self, *, rank: int = 0, world_size: int = 1) -> list[slice]:
        """Return the rows of each batch that is left to one of several processes."""
        own = self._batches[rank::world_size]
        return [rows for rows in own if not self._record(rows).exists()]

    def write(self, rows: slice, arrays: Mapping[str, np.ndarray], *, note: Any = None) -> None:  # noqa: ANN401 - any JSON value
        """Write a batch's rows of each array, and a note of plain values."""
        for name, values in arrays.items():
            _write_rows(self._folder / f"{name}.npy", values, first=rows.start, n=self._n_rows)
        write_json(self._record(rows), {"arrays": sorted(arrays), "note": note})

    def notes(self) -> list[Any]:
        """Return the notes of all batches in order, once none is missing."""
        return [self._read(rows)["note"] for rows in self._batches]

    def remove_state(self) -> None:
        """Remove the records, once nothing needs them; and other files that are in ``state/``."""
        shutil.rmtree(self._state, ignore_errors=True)

    def _record(self, rows: slice) -> Path:
        return self._state / f"{rows.start:08d}-{rows.stop:08d}.json"

    def _read(self, rows: slice) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self._record(rows).read_text(encoding="utf-8"))
        return record


def _write_rows(path: Path, values: np.ndarray, *, first: int, n: int) -> None:
    """Write rows of a ``.npy`` file of `n`, made by whoever comes first, through to the disk.

    Not by a memory map: processes of two machines would write whole pages, of which their rows are
    only a part, and a full disk would end the process without a message.
    """
    values = np.ascontiguousarray(values)
    header = io.BytesIO()
    description = np.lib.format.header_data_from_array_1_0(values)
    np.lib.format.write_array_header_1_0(
        header, {**description, "shape": (n, *values.shape[1:]), "fortran_order": False}
    )
    row_bytes = values.nbytes // len(values)
    # Every process writes the same header, so that none waits for another.
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        _write_at(file, header.getbuffer(), 0)
        _write_at(file, memoryview(values.tobytes()), header.tell() + first * row_bytes)
        os.fsync(file)
    finally:
        os.close(file)


def _write_at(file: int, data: memoryview, offset: int) -> None:
    """Write all of `data`; the system may take fewer bytes at a time."""
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written
