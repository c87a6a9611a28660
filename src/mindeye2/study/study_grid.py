"""Cells of a study: the folder of each job, its command, and the folders that it reads.

A folder is named by what varies and by a hash of all settings that its content depends on. After a
change of the settings the jobs that depend on it have other folders, and old results stay.
"""

import hashlib
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mindeye2.core import __version__
from mindeye2.core.settings import merged
from mindeye2.study.study_settings import (
    AmountChoice,
    ArmChoice,
    ResourceChoice,
    Rule,
    StudySettings,
)

__all__ = ["Cell", "Pretraining", "Study"]


@dataclass(frozen=True)
class Pretraining:
    """One pretrained run."""

    name: str
    """Name of its folder in ``pretrained/``."""
    subjects: tuple[str, ...]
    """Subjects that it is trained on."""
    settings: Mapping[str, Any]
    """Settings of the recipe that differ."""
    seed: int
    """Its seed."""


@dataclass(frozen=True)
class Cell:
    """One cell of the grid: a run, its reconstructions and their scores."""

    arm: str
    subject: str
    amount: AmountChoice
    seed: int
    init: str | None
    """Folder of the pretrained run."""
    run: str
    """Name of the run's folder in ``runs/``."""
    decoded: str
    """Name in ``decoded/``."""
    scores: str
    """Name in ``scores/``."""


class Study:
    """Folders and commands of a study.

    Parameters
    ----------
    settings
        The resolved ``config.yaml``.
    """

    def __init__(self, settings: StudySettings) -> None:
        self.settings = settings
        self.pretrainings: dict[str, Pretraining] = {}
        """Pretrained runs by name; one serves all cells of a left-out subject, a seed and the same
        settings."""
        cells = [
            self._cell(arm, choice, subject=subject, amount=amount, seed=seed)
            for arm, choice in settings.arms.items()
            for amount in settings.amounts
            for subject in settings.subjects
            for seed in choice.seeds or settings.seeds
        ]
        self.runs = {cell.run: cell for cell in cells}
        """Cells by the name of their run."""
        self.scores = {cell.scores: cell for cell in cells}
        """Cells by the name of their scores, in the order of the grid."""

    @property
    def data(self) -> str:
        """Folder of the data set."""
        data = self.settings.data
        return str(data.prepared or f"data/{data.kind}-{_hash(self._data_facts)}")

    @property
    def comparison(self) -> str:
        """Folder of the comparison of all cells."""
        return f"comparison/{_hash(list(self.scores), dict(self.settings.compare))}"

    def resources(self, rule: Rule) -> ResourceChoice:
        """Return what jobs of a rule need."""
        return self.settings.resources.get(rule, ResourceChoice())

    def launch(self, rule: Rule) -> str:
        """Return how the command of a rule starts, with torchrun for several GPUs."""
        n_gpus = self.resources(rule).gpu
        torchrun = f"torch.distributed.run --standalone --nproc-per-node {n_gpus} -m "
        return f"{shlex.quote(sys.executable)} -m {torchrun if n_gpus > 1 else ''}mindeye2"

    def prepare_options(self) -> str:
        """Return kind, source and settings of the data set."""
        data = self.settings.data
        source = ["--source", str(data.source)] if data.source else []
        return shlex.join([data.kind, *source, *assignments(data.settings)])

    def pretrain_options(self, name: str) -> str:
        """Return recipe, subjects and settings of a pretrained run."""
        choice, run = self.settings.pretrain, self.pretrainings[name]
        assert choice is not None
        subjects = [word for s in run.subjects for word in ("--subject", s)]
        settings = assignments({**run.settings, "seed": run.seed})
        return shlex.join(["--recipe", choice.recipe, *subjects, *settings])

    def train_options(self, name: str) -> str:
        """Return recipe, subject, start and settings of a run."""
        cell = self.runs[name]
        arm = self.settings.arms[cell.arm]
        start = ["--init", cell.init] if cell.init else []
        settings = assignments({**arm.settings, **cell.amount.settings, "seed": cell.seed})
        return shlex.join(["--recipe", arm.recipe, "--subject", cell.subject, *start, *settings])

    def manifests_before(self, name: str) -> list[str]:
        """Return the manifests of the data set, and of a pretrained run that the study trains."""
        init = self.runs[name].init or ""
        own = [f"{init}/manifest.json"] if Path(init).name in self.pretrainings else []
        return [f"{self.data}/manifest.json", *own]

    def evaluate_options(self) -> str:
        """Return the settings of reconstructions and of scores."""
        decoding = assignments(self.settings.reconstruct, option="--decoding")
        return shlex.join([*decoding, *assignments(self.settings.evaluate)])

    def compare_options(self) -> str:
        """Return the names of arms, in the order of `scores`, and settings."""
        names = [cell.arm for cell in self.scores.values()]
        return shlex.join(assignments({"names": names, **self.settings.compare}))

    @property
    def _data_facts(self) -> list[Any]:
        data = self.settings.data
        return [data.kind, str(data.source), str(data.prepared), dict(data.settings)]

    def _cell(
        self, arm: str, choice: ArmChoice, *, subject: str, amount: AmountChoice, seed: int
    ) -> Cell:
        init = self._pretrained(choice, subject, seed) if choice.pretrained else None
        # Adapted runs depend on all that their pretrained run depends on, whose name has its hash.
        facts = [self._data_facts, choice.recipe, dict(choice.settings), amount.settings, init]
        own = f"{arm}-{subject}-{amount.name}-seed{seed}"
        run = f"{own}-{_hash(facts)}"
        decoded = f"{own}-{_hash(run, dict(self.settings.reconstruct))}"
        scores = f"{own}-{_hash(decoded, dict(self.settings.evaluate))}"
        return Cell(arm, subject, amount, seed, init, run, decoded, scores)

    def _pretrained(self, arm: ArmChoice, subject: str, seed: int) -> str:
        """Return the folder of the run that a cell starts from, and keep what it is."""
        choice = self.settings.pretrain
        assert choice is not None
        if choice.run is not None:
            return str(choice.run)
        others = tuple(s for s in choice.subjects if _person(s) != _person(subject))
        whom = "all" if others == choice.subjects else f"without-{_person(subject)}"
        others = others[: arm.n_pretrain_subjects]
        settings = merged(choice.settings, arm.pretrain_settings)
        name = f"{whom}-seed{seed}-{_hash([self._data_facts, choice.recipe, others, settings])}"
        self.pretrainings[name] = Pretraining(name, others, settings, seed)
        return f"pretrained/{name}"


def assignments(
    settings: Mapping[str, Any], prefix: str = "", *, option: str = "--set"
) -> list[str]:
    """Return nested settings as words of the command line, a dotted name and value each."""
    words: list[str] = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            words += assignments(value, f"{prefix}{name}.", option=option)
        else:
            words += [option, f"{prefix}{name}={json.dumps(value)}"]
    return words


def _person(subject: str) -> str:
    return subject.partition("-session")[0]


def _hash(*facts: Any) -> str:  # noqa: ANN401 - any JSON values
    text = json.dumps([__version__, *facts], sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
