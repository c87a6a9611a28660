"""Arrays that grow batch by batch, so that an interrupted reconstruction resumes."""

import json
from pathlib import Path

import numpy as np

from mindeye2.core.artifacts import write_json
from mindeye2.stages.reconstruct.inference import Generated

__all__ = ["PartialResults"]


class PartialResults:
    """Images, prior samples and captions on disk, one row per image, written batch by batch.

    Images are memory-mapped files of the folder itself; what only unfinished work needs is in
    ``state/``. A batch counts once its rows are on disk.

    Parameters
    ----------
    folder
        Folder of the reconstruction.
    n_rows
        Number of images.

    Attributes
    ----------
    n_done
        Rows that are complete, those of an interrupted run included.
    captions
        Captions of these rows, where there are any.
    """

    def __init__(self, folder: Path, *, n_rows: int) -> None:
        self._folder = folder
        self._n_rows = n_rows
        self._maps: dict[str, np.memmap] = {}
        self._progress = folder / "state" / "progress.json"
        self._progress.parent.mkdir(exist_ok=True)
        self.n_done = 0
        self.captions: list[str] = []
        if self._progress.exists():
            progress = json.loads(self._progress.read_text(encoding="utf-8"))
            if all((folder / name).exists() for name in progress["files"]):
                self.n_done, self.captions = progress["rows"], progress["captions"]

    @property
    def prior(self) -> np.ndarray:
        """Return the prior's samples, float32."""
        prior: np.ndarray = np.load(self._folder / "state" / "prior.npy", mmap_mode="r")
        return prior

    def write(self, batch: Generated) -> None:
        """Write the next rows."""
        arrays = {f"{name}.npy": values for name, values in batch.images.items()}
        arrays["state/prior.npy"] = batch.prior.numpy()
        last = self.n_done + len(batch.prior)
        for name, values in arrays.items():
            if name not in self._maps:
                self._maps[name] = np.lib.format.open_memmap(
                    self._folder / name,
                    mode="r+" if self.n_done else "w+",
                    dtype=values.dtype,
                    shape=(self._n_rows, *values.shape[1:]),
                )
            self._maps[name][self.n_done : last] = values
            self._maps[name].flush()
        self.n_done = last
        self.captions += batch.captions or []
        write_json(
            self._progress,
            {"rows": last, "captions": self.captions, "files": sorted(arrays)},
        )
