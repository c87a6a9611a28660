"""How the decoder behind a folder of scores was trained, as the runs on the way recorded it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mindeye2.core.artifacts import resolve_path
from mindeye2.core.errors import ArtifactError

__all__ = ["Amount", "TrainingFacts", "label_settings", "training_facts"]

_NOT_OF_THE_ARM = {
    *("task", "recipe", "init", "seed", "subject", "subjects", "data_sha256"),
    *("sessions", "n_trials", "trackers"),
}
"""Settings that name a cell of a grid, or change no result."""


@dataclass(frozen=True)
class Amount:
    """Amount of a subject's data that was chosen; None is all."""

    sessions: tuple[int, ...] | None = None
    n_trials: int | None = None

    def __str__(self) -> str:
        """Say it in words."""
        if self.n_trials is not None:
            return f"{self.n_trials:,} trials"
        if self.sessions is None:
            return "all sessions"
        count = len(self.sessions)
        return "1 session" if count == 1 else f"{count} sessions"


@dataclass(frozen=True)
class TrainingFacts:
    """Training of the decoder behind some scores; empty where its folder is gone."""

    recipe: str = ""
    """Recipe of the run, or name of published weights."""
    seed: int = 0
    """Seed of the run."""
    amount: Amount = Amount()
    """Chosen amount of the subject's data."""
    trials: int | None = None
    """Trials that it was trained on."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further settings by dotted name, those of the pretrained run after ``pretrained.``."""


def training_facts(folder: Path, manifest: Mapping[str, Any]) -> TrainingFacts:
    """Follow a folder of scores, by its manifest, to the run; stop where a folder is gone."""
    try:
        decoded = resolve_path(str(manifest["config"]["source"]), folder=folder)
        init = resolve_path(str(_manifest(decoded)["config"]["init"]), folder=decoded)
    except (ArtifactError, KeyError):
        return TrainingFacts()
    run = _manifest(init)
    config = run.get("config", {})
    if run.get("stage") != "train":
        return TrainingFacts(recipe=str(run.get("source", init.name)))
    sessions = config.get("sessions")
    return TrainingFacts(
        recipe=str(config["recipe"]),
        seed=int(config.get("seed", 0)),
        amount=Amount(sessions and tuple(sessions), config.get("n_trials")),
        trials=run.get("trials"),
        settings={**_flat(config), **_pretrained(init, config)},
    )


def label_settings(facts: Sequence[TrainingFacts]) -> list[str]:
    """Name trainings by recipe, and by the settings in which those of one recipe differ."""
    labels = []
    for own in facts:
        alike = [f.settings for f in facts if f.recipe == own.recipe]
        names = sorted({name for settings in alike for name in settings})
        varied = [n for n in names if len({str(s.get(n)) for s in alike}) > 1]
        labels.append(", ".join([own.recipe, *(f"{n}={own.settings.get(n)}" for n in varied)]))
    return labels


def _pretrained(run: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return recipe, amount and settings of the run that another started from."""
    if not config.get("init"):
        return {}
    try:
        before = _manifest(resolve_path(str(config["init"]), folder=run))
    except ArtifactError:
        return {}
    settings = before.get("config", {})
    # Each left-out subject has other pretraining subjects: as many of them are the same arm.
    facts = {
        "recipe": settings.get("recipe", before.get("source")),
        "n_subjects": len(settings.get("subjects") or ()),
        "sessions": settings.get("sessions"),
        "n_trials": settings.get("n_trials"),
    }
    return {f"pretrained.{name}": value for name, value in {**_flat(settings), **facts}.items()}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif name not in _NOT_OF_THE_ARM:
            flat[f"{prefix}{name}"] = value
    return flat


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found
