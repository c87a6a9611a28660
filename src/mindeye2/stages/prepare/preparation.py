"""Settings of the prepare stage: a union of one class per kind of source, tagged by ``kind``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from mindeye2.core.settings import Settings
from mindeye2.data.bids import BidsSettings
from mindeye2.data.glmsingle import GlmsingleSettings
from mindeye2.data.kriegeskorte92 import Kriegeskorte92Settings
from mindeye2.data.laion_fmri import LaionFmriSettings
from mindeye2.data.mindeye2_release import ReleasedSettings
from mindeye2.data.nsd import NsdSettings
from mindeye2.data.simulated import SimulationSettings
from mindeye2.data.table import TableSettings
from mindeye2.data.things_fmri import ThingsFmriSettings

__all__ = [
    "SETTINGS",
    "BidsPreparation",
    "GlmsinglePreparation",
    "Kriegeskorte92Preparation",
    "LaionFmriPreparation",
    "NsdPreparation",
    "Preparation",
    "PrepareSettings",
    "ReleasedPreparation",
    "SceneComposition",
    "ScenePreparation",
    "SimulatedPreparation",
    "TablePreparation",
    "ThingsFmriPreparation",
]


class Preparation(Settings):
    """Settings that every kind of source has."""

    encoders: tuple[str, ...] = ("lite0", "lowlevel")
    """Frozen encoders of the target tokens, keys of `mindeye2.stages.prepare.ENCODERS`."""

    encoder_weights: Mapping[str, Path] = {}
    """Folders that ``mindeye2 import`` filled, by encoder; not recorded, because each target
    records the hash of its weights."""

    zscore: Literal["training", "released"] = "training"
    """Trials on which z-scoring is fitted in each session: those outside the test split, or all of
    them, as MindEye2's published files were made. Sources that are z-scored already stay as they
    are."""

    constant_voxels: Literal["refuse", "zero"] = "refuse"
    """A voxel that does not vary in a session, e.g. outside the field of view on that day: refuse
    the data, or make it 0 in that session and count such sessions in the voxel table."""

    processes: Annotated[int, Field(ge=1)] = 1
    """Subjects that are z-scored at the same time. Changes no file, so it is not recorded."""


class SceneComposition(Preparation):
    """Scenes composed of photographs, as stimuli or alone."""

    seed: int = 0
    """Seeds scenes and simulated subjects."""

    n_train: Annotated[int, Field(ge=1)] = 2400
    """Scenes of the train split."""

    n_validation: Annotated[int, Field(ge=0)] = 100
    """Scenes of the validation split."""

    n_test: Annotated[int, Field(ge=0)] = 100
    """Scenes of the test split, of cut-outs and backgrounds that no other scene uses."""

    scene_size: Annotated[int, Field(ge=32)] = 224
    """Side of the scenes in pixels."""


class ScenePreparation(SceneComposition):
    """Composed scenes without brain responses."""

    kind: Literal["scenes"] = "scenes"
    """The tag."""


class SimulatedPreparation(SceneComposition):
    """Responses of simulated subjects to composed scenes."""

    kind: Literal["simulated"] = "simulated"
    """The tag."""

    brain_size: Annotated[int, Field(ge=64)] = 160
    """Input resolution, in pixels, of the network that simulates higher visual areas."""

    simulation: SimulationSettings = SimulationSettings()
    """The simulated subjects."""


class Kriegeskorte92Preparation(Preparation):
    """Measured responses to 92 photographs."""

    kind: Literal["kriegeskorte92"] = "kriegeskorte92"
    """The tag."""

    kriegeskorte92: Kriegeskorte92Settings = Kriegeskorte92Settings()
    """Folds, validation images, download."""


class NsdPreparation(Preparation):
    """The Natural Scenes Dataset as it is distributed."""

    kind: Literal["nsd"] = "nsd"
    """The tag."""

    nsd: NsdSettings = NsdSettings()
    """Subjects, sessions, version of the betas, region."""


class LaionFmriPreparation(Preparation):
    """LAION-fMRI as it is distributed."""

    kind: Literal["laion_fmri"] = "laion_fmri"
    """The tag."""

    encoders: tuple[str, ...] = ()
    """Frozen encoders of further targets, which need the images; published embeddings are in
    `laion_fmri.embeddings`."""

    laion_fmri: LaionFmriSettings = LaionFmriSettings()
    """Subjects, sessions, voxels, split, embeddings."""


class ThingsFmriPreparation(Preparation):
    """THINGS-fMRI in table format."""

    kind: Literal["things_fmri"] = "things_fmri"
    """The tag."""

    things_fmri: ThingsFmriSettings = ThingsFmriSettings()
    """Subjects, voxels, images."""


class ReleasedPreparation(Preparation):
    """The data files that were published with MindEye2."""

    kind: Literal["released"] = "released"
    """The tag."""

    released: ReleasedSettings = ReleasedSettings()
    """Subjects, training sessions, test set."""


class BidsPreparation(Preparation):
    """fMRIPrep derivatives with BIDS events."""

    kind: Literal["bids"] = "bids"
    """The tag."""

    bids: BidsSettings = BidsSettings()
    """Runs, voxels, and the GLM of single-trial responses."""


class GlmsinglePreparation(Preparation):
    """Betas that GLMsingle estimated."""

    kind: Literal["glmsingle"] = "glmsingle"
    """The tag."""

    glmsingle: GlmsingleSettings = GlmsingleSettings()
    """Type of betas, mask, trials."""


class TablePreparation(Preparation):
    """A laboratory's own arrays and trial table."""

    kind: Literal["table"] = "table"
    """The tag."""

    table: TableSettings = TableSettings()
    """Names of files and columns."""


PrepareSettings = Annotated[
    SimulatedPreparation
    | ScenePreparation
    | Kriegeskorte92Preparation
    | NsdPreparation
    | LaionFmriPreparation
    | ThingsFmriPreparation
    | ReleasedPreparation
    | BidsPreparation
    | GlmsinglePreparation
    | TablePreparation,
    Field(discriminator="kind"),
]
"""Settings of any kind; pydantic chooses the class by ``kind``."""

SETTINGS: dict[str, type[PrepareSettings]] = {
    cls.model_fields["kind"].default: cls for cls in get_args(get_args(PrepareSettings)[0])
}
"""The classes of the union by kind."""
