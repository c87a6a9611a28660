"""Runs grouped into arms: one way to train, with one amount of data, for subjects and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.errors import ArtifactError, check_choice
from mindeye2.metrics.stats import FEWEST_SUBJECTS
from mindeye2.stages.compare.scored_run import ScoredRun, check_same_images
from mindeye2.stages.compare.training_facts import Amount, label_settings

__all__ = ["RunArm", "group_runs", "pair_arms", "paired_tables", "score_table", "subjects_of"]


@dataclass(frozen=True)
class RunArm:
    """Runs that differ in subject and seed only."""

    family: str
    """Name of the arm, whatever the amount of data."""
    amount: Amount
    """Amount of each subject's data."""
    label: str
    """`family`, with the amount where there are several of it."""
    runs: dict[tuple[str, int], ScoredRun]
    """By subject and seed."""

    @property
    def first(self) -> ScoredRun:
        """First run, whose titles and protocol are those of all."""
        return next(iter(self.runs.values()))

    @property
    def subjects(self) -> list[str]:
        """Subjects, in the order of the runs."""
        return list(dict.fromkeys(subject for subject, _ in self.runs))

    @property
    def seeds(self) -> list[int]:
        """Seeds that all of its subjects have."""
        by_subject = [{e for s, e in self.runs if s == subject} for subject in self.subjects]
        return sorted(set.intersection(*by_subject))

    @property
    def n_trials(self) -> float | None:
        """Mean number of training trials, if it is recorded."""
        counts = [run.facts.trials for run in self.runs.values() if run.facts.trials is not None]
        return sum(counts) / len(counts) if len(counts) == len(self.runs) else None

    @property
    def left_out(self) -> list[ScoredRun]:
        """Runs of seeds that not all subjects have."""
        return [run for (_, seed), run in self.runs.items() if seed not in self.seeds]

    def run_of(self, subject: str, seed: int) -> ScoredRun:
        """Return a run; an arm of one seed, such as a closed form, has it for every seed."""
        return self.runs[subject, self.seeds[0] if len(self.seeds) == 1 else seed]

    def mean_of(self, metric: str, subject: str) -> float:
        """Return the mean score of one subject over seeds."""
        values = [self.runs[subject, seed].summary[metric]["value"] for seed in self.seeds]
        return float(sum(values) / len(values))


def subjects_of(arms: Sequence[RunArm]) -> list[str]:
    """Return the subjects of all arms, in the order of the runs."""
    return list(dict.fromkeys(subject for arm in arms for subject in arm.subjects))


def group_runs(runs: Sequence[ScoredRun], names: Sequence[str]) -> list[RunArm]:
    """Group runs into arms by their names, or by what they recorded of their training.

    Raises ValueError if there are not as many names as runs, or two runs of an arm are of one
    subject, seed and amount of data.
    """
    families = list(names) or _families(runs)
    cells = list(zip(families, map(_cell, runs), strict=False))
    if len(families) != len(runs) or len(set(cells)) < len(runs):
        raise ValueError(
            f"each of the {len(runs)} runs needs a name of its own, got {families}, unless it is "
            "of another subject, seed or amount of data. Give --set names=[A, B, ...] in the "
            "order of the runs."
        )
    groups: dict[tuple[str, Amount], dict[tuple[str, int], ScoredRun]] = {}
    for family, run in zip(families, runs, strict=True):
        group = groups.setdefault((family, run.facts.amount), {})
        group[run.subject, run.facts.seed] = run
    amounts = {f: {a for g, a in groups if g == f} for f in families}
    arms = [
        RunArm(f, amount, f if len(amounts[f]) == 1 else f"{f}, {amount}", group)
        for (f, amount), group in groups.items()
    ]
    for arm in arms:
        if not arm.seeds:
            raise ArtifactError(
                f"no seed of the arm {arm.label!r} has a run of each of its subjects "
                f"{arm.subjects}: its runs are {sorted(arm.runs)}. Give the missing runs, or "
                "leave out subjects."
            )
    return arms


def pair_arms(arms: Sequence[RunArm], reference: str | None) -> list[tuple[RunArm, RunArm]]:
    """Return each arm with the one that it is compared with: of the same amount, if there is one.

    Amounts of a single arm are compared with its first.
    """
    families = list(dict.fromkeys(arm.family for arm in arms))
    chosen = reference or families[0]
    check_choice("the setting reference", chosen, families)
    base = [arm for arm in arms if arm.family == chosen]
    if len(families) == 1:
        return [(arm, arms[0]) for arm in arms[1:]]
    pairs = []
    for arm in arms:
        same = [b for b in base if b.amount == arm.amount]
        # Arms of a single amount each, such as 1 and 40 sessions, are meant to be compared.
        other = same or (base if len(base) == 1 else [])
        if arm.family != chosen and other:
            pairs.append((arm, other[0]))
    return pairs


def score_table(
    arm: RunArm, metric: str, *, subjects: Sequence[str], seeds: Sequence[int]
) -> Float[Tensor, "*groups images"]:
    """Return scores per subject, seed and image, or per seed and image of few subjects.

    With fewer than three subjects, their mean stands for them. Where subjects have different
    numbers of images, the only "image" is the mean over them. Raises ArtifactError if both hold.
    """
    rows = [[arm.run_of(s, e).scores(metric) for e in seeds] for s in subjects]
    lengths = {len(scores) for of_subject in rows for scores in of_subject}
    if len(lengths) == 1:
        table = torch.stack([torch.stack(of_subject) for of_subject in rows])
    elif len(subjects) < FEWEST_SUBJECTS:
        raise ArtifactError(
            f"{' and '.join(subjects)} have {' and '.join(map(str, sorted(lengths)))} test "
            f"images: with fewer than {FEWEST_SUBJECTS} subjects their scores have no common "
            "interval. Compare the runs of each subject."
        )
    else:
        means = [torch.stack([scores.mean() for scores in of_subject]) for of_subject in rows]
        table = torch.stack(means).unsqueeze(-1)
    return table if len(subjects) >= FEWEST_SUBJECTS else table.mean(dim=0)


def paired_tables(
    pair: tuple[RunArm, RunArm], metrics: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the scores of two arms for the subjects and seeds that both have.

    Raises ArtifactError if there are none, or two runs have scores of different images.
    """
    first, second = pair
    subjects = [s for s in first.subjects if s in second.subjects]
    several = [set(arm.seeds) for arm in pair if len(arm.seeds) > 1]
    seeds = sorted(set.intersection(*several)) if several else [0]
    if not subjects or not seeds:
        raise ArtifactError(
            f"{first.label} has the subjects {first.subjects} with the seeds {first.seeds}, "
            f"{second.label} has {second.subjects} with {second.seeds}: no run of one has a "
            "counterpart in the other. Give runs of the same subjects and seeds."
        )
    for subject in subjects:
        for seed in seeds:
            check_same_images(second.run_of(subject, seed), first.run_of(subject, seed))
    tables = [
        {m: score_table(arm, m, subjects=subjects, seeds=seeds) for m in metrics} for arm in pair
    ]
    return tables[0], tables[1]


def _families(runs: Sequence[ScoredRun]) -> list[str]:
    """Name arms by their training where that groups the runs, else by their folders."""
    labels = label_settings([run.facts for run in runs])
    cells = set(zip(labels, map(_cell, runs), strict=True))
    known = all(run.facts.recipe for run in runs)
    if known and len(set(labels)) < len(runs) and len(cells) == len(runs):
        return labels
    if len({run.subject for run in runs}) == len(runs):
        return ["scores"] * len(runs)
    resolved = [run.folder.resolve() for run in runs]
    names = [path.name for path in resolved]
    if len(set(names)) < len(names):
        names = [f"{path.parent.name}/{path.name}" for path in resolved]
    return names


def _cell(run: ScoredRun) -> tuple[str, int, Amount]:
    return run.subject, run.facts.seed, run.facts.amount
