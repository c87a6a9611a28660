"""Settings of a study: data, subjects, arms, amounts of data, seeds, settings of each stage."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mindeye2.choices import IMAGE_DECODERS, KINDS, RECIPES
from mindeye2.core.errors import check_choice
from mindeye2.core.settings import Settings

__all__ = ["AmountChoice", "ArmChoice", "ResourceChoice", "Rule", "StudySettings"]

Rule = Literal["prepare", "pretrain", "train", "evaluate", "compare"]
"""Rules of the workflow."""


class DataChoice(Settings):
    """The data set of a study."""

    kind: str = "simulated"
    """Kind of source of `mindeye2 prepare`."""

    source: Path | None = None
    """Folder or file that it reads."""

    prepared: Path | None = None
    """Data set that is prepared already; then nothing is."""

    settings: Mapping[str, Any] = {}
    """Settings of `mindeye2 prepare` that differ."""


class PretrainChoice(Settings):
    """The pretrained run that arms start from: one for each left-out subject and seed."""

    recipe: str = "laptop"
    """Recipe of `mindeye2 train`."""

    subjects: tuple[str, ...] = ()
    """Subjects to train on; the subject of a cell, and other sessions of the same person
    (NAME-session1, NAME-session2), are left out."""

    run: Path | None = None
    """Pretrained run, or imported weights, instead of training one; it must not know the
    subjects."""

    settings: Mapping[str, Any] = {}
    """Settings of the recipe that differ."""


class ArmChoice(Settings):
    """A way to train on a subject's data."""

    recipe: str
    """Recipe of `mindeye2 train`."""

    pretrained: bool = False
    """Start from the pretrained run."""

    n_pretrain_subjects: Annotated[int, Field(ge=1)] | None = None
    """Pretrain on the first so many of the other subjects instead of all."""

    pretrain_settings: Mapping[str, Any] = {}
    """Settings of its pretraining that differ from the study's, e.g. `n_trials` a subject."""

    seeds: tuple[int, ...] | None = None
    """Seeds, where they are others than the study's, e.g. [0] for a closed form."""

    settings: Mapping[str, Any] = {}
    """Settings of the recipe that differ."""


class AmountChoice(Settings):
    """An amount of each subject's data; all of it by default."""

    sessions: tuple[int, ...] | None = None
    """Training sessions."""

    n_trials: Annotated[int, Field(ge=1)] | None = None
    """Number of training trials, the first ones of these sessions."""

    @property
    def name(self) -> str:
        """Name for folders, e.g. ``75trials``."""
        sessions = "" if self.sessions is None else f"{len(self.sessions)}sessions"
        trials = "" if self.n_trials is None else f"{self.n_trials}trials"
        return "-".join(filter(None, [sessions, trials])) or "all"

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of `mindeye2 train`."""
        chosen = {"sessions": self.sessions, "n_trials": self.n_trials}
        return {name: value for name, value in chosen.items() if value is not None}


class ResourceChoice(Settings):
    """What a job of a rule needs."""

    threads: Annotated[int, Field(ge=1)] = 1
    """Processor cores."""

    mem_mb: Annotated[int, Field(ge=1)] = 4000
    """Main memory, MB."""

    runtime: Annotated[int, Field(ge=1)] = 60
    """Minutes until a cluster ends the job; retried, it goes on where it stopped."""

    gpu: Annotated[int, Field(ge=0)] = 0
    """GPUs; above 1 the job is started by torchrun, a process for each."""


class StudySettings(Settings):
    """``config.yaml`` of a study."""

    data: DataChoice = DataChoice()
    """The data set."""

    subjects: Annotated[tuple[str, ...], Field(min_length=1)]
    """Subjects that are decoded, each as a new one."""

    pretrain: PretrainChoice | None = None
    """The pretrained run of arms with `pretrained: true`."""

    arms: Annotated[Mapping[str, ArmChoice], Field(min_length=1)]
    """Ways to train, by name; the first is the one that others are compared with."""

    amounts: Annotated[tuple[AmountChoice, ...], Field(min_length=1)] = (AmountChoice(),)
    """Amounts of each subject's data."""

    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """Seeds of pretraining and training."""

    reconstruct: Mapping[str, Any] = {}
    """Settings of `mindeye2 reconstruct` that differ."""

    evaluate: Mapping[str, Any] = {}
    """Settings of `mindeye2 evaluate` that differ."""

    compare: Mapping[str, Any] = {}
    """Settings of `mindeye2 compare` that differ."""

    resources: Mapping[Rule, ResourceChoice] = {}
    """What jobs need, by rule: prepare, pretrain, train, evaluate (which reconstructs first),
    compare."""

    @model_validator(mode="after")
    def _fits_together(self) -> "StudySettings":
        check_choice("data.kind", self.data.kind, KINDS)
        recipes = [name for name in RECIPES if name not in IMAGE_DECODERS]
        for name, arm in self.arms.items():
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise ValueError(
                    f"the arm {name!r} names folders: use letters, digits, - and _ only"
                )
            check_choice(f"arms.{name}.recipe", arm.recipe, recipes)
            if arm.pretrained and self.pretrain is None:
                raise ValueError(
                    f"arms.{name} starts from a pretrained run: say which under `pretrain`, or "
                    "leave out `pretrained: true`"
                )
            trains = arm.pretrained and self.pretrain is not None and self.pretrain.run is None
            if (arm.pretrain_settings or arm.n_pretrain_subjects) and not trains:
                raise ValueError(
                    f"arms.{name} changes a pretraining that the study does not do: leave out "
                    "pretrain_settings and n_pretrain_subjects, or set `pretrained: true` and "
                    "`pretrain` without `run`"
                )
        if self.pretrain is not None and self.pretrain.run is None:
            check_choice("pretrain.recipe", self.pretrain.recipe, recipes)
            if not self.pretrain.subjects:
                raise ValueError("pretrain.subjects is missing: name the subjects to train on")
        return self
