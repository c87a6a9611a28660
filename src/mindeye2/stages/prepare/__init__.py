"""The prepare stage: a source to one folder of images, trials, z-scored betas and targets."""

from mindeye2.stages.prepare.adapters import KINDS
from mindeye2.stages.prepare.encode_targets import ENCODERS
from mindeye2.stages.prepare.preparation import (
    SETTINGS,
    BidsPreparation,
    GlmsinglePreparation,
    Kriegeskorte92Preparation,
    LaionFmriPreparation,
    NsdPreparation,
    PrepareSettings,
    ReleasedPreparation,
    ScenePreparation,
    SimulatedPreparation,
    TablePreparation,
    ThingsFmriPreparation,
)
from mindeye2.stages.prepare.run import prepare

__all__ = [
    "ENCODERS",
    "KINDS",
    "SETTINGS",
    "BidsPreparation",
    "GlmsinglePreparation",
    "Kriegeskorte92Preparation",
    "LaionFmriPreparation",
    "NsdPreparation",
    "PrepareSettings",
    "ReleasedPreparation",
    "ScenePreparation",
    "SimulatedPreparation",
    "TablePreparation",
    "ThingsFmriPreparation",
    "prepare",
]
