"""Settings of the prepare stage: one field per adapter, and what holds for all of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mindeye2.core.settings import Settings
from mindeye2.data.bids import BidsSettings
from mindeye2.data.glmsingle import GlmsingleSettings
from mindeye2.data.kriegeskorte92 import Kriegeskorte92Settings
from mindeye2.data.mindeye2_release import ReleasedSettings
from mindeye2.data.nsd import NsdSettings
from mindeye2.data.simulated import SimulationSettings
from mindeye2.data.table import TableSettings

__all__ = ["PrepareSettings"]


class PrepareSettings(Settings):
    """What to prepare."""

    kind: str = "simulated"
    """The adapter, a key of `mindeye2.stages.prepare.KINDS`."""

    seed: int = 0
    """Seeds scenes and simulated people."""

    n_train: Annotated[int, Field(ge=1)] = 1400
    """Scenes that training trials may show."""

    n_validation: Annotated[int, Field(ge=0)] = 100
    """Scenes of the validation split."""

    n_test: Annotated[int, Field(ge=0)] = 100
    """Scenes of the test split, of cut-outs and backgrounds that no other scene uses."""

    scene_size: Annotated[int, Field(ge=32)] = 224
    """Side of the scenes in pixels."""

    brain_size: Annotated[int, Field(ge=64)] = 160
    """Side in pixels at which the network sees that stands for higher visual areas."""

    simulation: SimulationSettings = SimulationSettings()
    """The simulated people."""

    kriegeskorte92: Kriegeskorte92Settings = Kriegeskorte92Settings()
    """Splits of the real responses to 92 photographs."""

    bids: BidsSettings = BidsSettings()
    """fMRIPrep derivatives: runs, voxels, the model of single-trial responses."""

    glmsingle: GlmsingleSettings = GlmsingleSettings()
    """Outputs of GLMsingle: type, mask, trials."""

    table: TableSettings = TableSettings()
    """A lab's own arrays: names of files and columns."""

    nsd: NsdSettings = NsdSettings()
    """What to take from the Natural Scenes Dataset."""

    released: ReleasedSettings = ReleasedSettings()
    """What to take from MindEye2's published files."""

    encoders: tuple[str, ...] = ("lite0", "lowlevel")
    """Frozen encoders that see every picture, keys of `mindeye2.stages.prepare.ENCODERS`."""

    encoder_weights: Mapping[str, Path] = {}
    """Folders that ``mindeye2 import`` filled, by encoder; not recorded, targets know their
    weights."""

    zscore: Literal["training", "released"] = "training"
    """What z-scoring is fitted on in each session: the trials outside the test split, or all of
    them, as MindEye2's published files were made. Sources that are z-scored already stay as they
    are."""

    constant_voxels: Literal["refuse", "zero"] = "refuse"
    """A voxel that does not vary in a session, e.g. outside the field of view on that day: refuse
    the data, or make it 0 in that session and count such sessions in the voxel table."""

    processes: Annotated[int, Field(ge=1)] = 1
    """Subjects that are z-scored at the same time. Changes no file, so it is not recorded."""
