"""Adapters by the name that the command line knows them under.

An adapter is one function from a source to a `SourceDataset`. To add one, give `PrepareSettings` a
field of its settings, and `KINDS` a line: ``"name": _reads("name", read_name, "what it reads")``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mindeye2.core.errors import ArtifactError
from mindeye2.data.bids import read_bids
from mindeye2.data.glmsingle import read_glmsingle
from mindeye2.data.kriegeskorte92 import read_kriegeskorte92
from mindeye2.data.mindeye2_release import read_released
from mindeye2.data.nsd import read_nsd
from mindeye2.data.source_dataset import SourceDataset
from mindeye2.data.table import read_study
from mindeye2.stages.prepare.settings import PrepareSettings
from mindeye2.stages.prepare.simulated import scenes_only, simulated_people

__all__ = ["KINDS", "Adapter"]

Adapter = Callable[[PrepareSettings, Path | None], SourceDataset]
"""From all settings and the ``--source`` to what was recorded."""


def _reads(name: str, read: Callable[..., SourceDataset], source: str) -> Adapter:
    """Hand an adapter the source and the settings of its own field.

    Parameters
    ----------
    name
        The field of `PrepareSettings`.
    read
        The adapter: ``read(source, settings=...)``.
    source
        What ``--source`` must be, for the message where it is not given.

    Returns
    -------
    Adapter
        For `KINDS`.
    """

    def adapter(settings: PrepareSettings, path: Path | None) -> SourceDataset:
        if path is None:
            raise ArtifactError(f"the kind {name!r} reads files: give --source {source}.")
        own: Any = getattr(settings, name)
        return read(path, settings=own)

    return adapter


KINDS: dict[str, Adapter] = {
    "simulated": lambda settings, _: simulated_people(settings),
    "scenes": lambda settings, _: scenes_only(settings),
    "kriegeskorte92": _reads(
        "kriegeskorte92",
        read_kriegeskorte92,
        "kriegeskorte92.npz, or the folder of the published files",
    ),
    "nsd": _reads("nsd", read_nsd, "the folder of nsddata, nsddata_betas and nsddata_stimuli"),
    "released": _reads("released", read_released, "the folder of MindEye2's published files"),
    "bids": _reads("bids", read_bids, "the BIDS folder"),
    "glmsingle": _reads("glmsingle", read_glmsingle, "the folder that GLMsingle filled"),
    "table": _reads("table", read_study, "the folder with trials.csv, betas and images"),
}
"""Every adapter."""
