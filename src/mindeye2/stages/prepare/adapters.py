"""Adapters by the name that the command line has for them.

An adapter is one function from a source to a `SourceDataset`. To add one, write its settings as a
class of the union `PrepareSettings`, and give `KINDS` a line:
``"name": _reads("name", read_name, "what --source is")``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mindeye2.core.errors import ArtifactError
from mindeye2.data.bids import read_bids
from mindeye2.data.glmsingle import read_glmsingle
from mindeye2.data.kriegeskorte92 import read_kriegeskorte92
from mindeye2.data.laion_fmri import read_laion_fmri
from mindeye2.data.mindeye2_release import read_released
from mindeye2.data.nsd import read_nsd
from mindeye2.data.source_dataset import SourceDataset
from mindeye2.data.table import read_study
from mindeye2.data.things_fmri import read_things_fmri
from mindeye2.stages.prepare.simulation_adapters import compose_scenes, simulate_subjects

__all__ = ["KINDS", "Adapter"]

Adapter = Callable[[Any, Path | None], SourceDataset]
"""Turns the settings of its kind and the ``--source`` into a source data set."""


def _reads(name: str, read: Callable[..., SourceDataset], source: str) -> Adapter:
    """Make an adapter of a reader that takes a source and the settings of the field `name`."""

    def adapter(settings: Any, path: Path | None) -> SourceDataset:  # noqa: ANN401 - by kind
        if path is None:
            raise ArtifactError(f"the kind {name!r} reads files: give --source {source}.")
        return read(path, settings=getattr(settings, name))

    return adapter


KINDS: dict[str, Adapter] = {
    "simulated": lambda settings, _: simulate_subjects(settings),
    "scenes": lambda settings, _: compose_scenes(settings),
    "kriegeskorte92": _reads(
        "kriegeskorte92",
        read_kriegeskorte92,
        "kriegeskorte92.npz, or the folder of the published files",
    ),
    "nsd": _reads("nsd", read_nsd, "the folder of nsddata, nsddata_betas and nsddata_stimuli"),
    "laion_fmri": _reads("laion_fmri", read_laion_fmri, "the folder of derivatives and stimuli"),
    "things_fmri": _reads(
        "things_fmri", read_things_fmri, "the folder of betas_csv and the images"
    ),
    "released": _reads("released", read_released, "the folder of MindEye2's published files"),
    "bids": _reads("bids", read_bids, "the BIDS folder"),
    "glmsingle": _reads("glmsingle", read_glmsingle, "the folder that GLMsingle filled"),
    "table": _reads("table", read_study, "the folder with trials.csv, betas and images"),
}
"""Every adapter."""
