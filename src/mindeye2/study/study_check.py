"""Whether a study can run: settings, sources, subjects, sessions and trials, before any job."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import Settings, load_settings
from mindeye2.study.study_grid import Study, assignments

if TYPE_CHECKING:
    from mindeye2.data.prepared import Prepared

__all__ = ["check_study"]


def check_study(study: Study, folder: Path) -> list[str]:
    """Check a study, and its data set as far as it is prepared.

    Parameters
    ----------
    study
        The grid.
    folder
        Folder of the study, which its paths are relative to.

    Returns
    -------
    list of str
        What was checked, a line each.

    Raises
    ------
    ArtifactError
        If cells need settings, sources, subjects, sessions or trials that are not there; with all
        of them.
    """
    problems = [*_wrong_settings(study), *_missing_sources(study, folder)]
    data = folder / study.data
    prepared = None
    if (data / "manifest.json").exists():
        from mindeye2.data.prepared import open_prepared

        prepared = open_prepared(data)
        problems += _missing_data(study, prepared)
    else:
        problems += _missing_simulated(study)
    if problems:
        raise ArtifactError(
            f"{folder}/config.yaml needs what is not there: {'; '.join(problems)}. Correct "
            "config.yaml, or make the data."
        )
    found = "data set not prepared yet" if prepared is None else f"data set {study.data} fits"
    return [
        f"settings of {len(study.settings.arms)} arms are valid; {found}",
        f"{len(study.pretrainings)} pretrained runs, {len(study.runs)} cells",
    ]


def _wrong_settings(study: Study) -> Iterator[str]:
    from mindeye2.recipes import PREPARATION, TRAINING
    from mindeye2.stages.compare import CompareSettings
    from mindeye2.stages.evaluate import EvaluateSettings
    from mindeye2.stages.reconstruct import ReconstructSettings

    config = study.settings
    chosen: list[tuple[str, Callable[[], Settings], Mapping[str, Any]]] = [
        ("data", PREPARATION[config.data.kind], config.data.settings),
        ("reconstruct", ReconstructSettings, config.reconstruct),
        ("evaluate", EvaluateSettings, config.evaluate),
        ("compare", CompareSettings, config.compare),
    ]
    if config.pretrain is not None and config.pretrain.run is None:
        pretraining = TRAINING[config.pretrain.recipe]
        chosen.append(("pretrain", pretraining, config.pretrain.settings))
        chosen += [
            (f"arms.{name}.pretrain_settings", pretraining, arm.pretrain_settings)
            for name, arm in config.arms.items()
        ]
    for name, arm in config.arms.items():
        for amount in config.amounts:
            own = {**arm.settings, **amount.settings}
            chosen.append((f"arms.{name}, {amount.name}", TRAINING[arm.recipe], own))
    for where, start, settings in chosen:
        try:
            load_settings(start(), assignments=assignments(settings)[1::2])
        except ValueError as error:
            yield f"{where}: {error}"


def _missing_sources(study: Study, folder: Path) -> Iterator[str]:
    config = study.settings
    run = config.pretrain.run if config.pretrain else None
    for name, path in (
        ("data.source", config.data.source),
        ("data.prepared", config.data.prepared),
        ("pretrain.run", run),
    ):
        # A download fills its source.
        if path is not None and not (folder / path).exists() and not _downloads(study, name):
            yield f"{name}: {folder / path} does not exist"


def _downloads(study: Study, name: str) -> bool:
    data = study.settings.data
    own = data.settings.get(data.kind)
    return name == "data.source" and isinstance(own, Mapping) and bool(own.get("download"))


def _missing_simulated(study: Study) -> Iterator[str]:
    """Name subjects that the simulation will not make; other sources are read first."""
    data = study.settings.data
    if data.kind != "simulated" or data.prepared is not None:
        return
    from mindeye2.recipes import demo_data

    try:
        settings = load_settings(demo_data(), assignments=assignments(data.settings)[1::2])
    except ValueError:  # named already
        return
    there = {f"subj{k:02d}" for k in range(1, settings.simulation.n_subjects + 1)}
    wanted = {*study.settings.subjects, *_pretraining_subjects(study)}
    if wanted - there:
        yield (
            f"subjects {sorted(wanted - there)}: the simulation has {len(there)}, {min(there)} to "
            f"{max(there)}"
        )


def _missing_data(study: Study, prepared: "Prepared") -> Iterator[str]:
    """Name subjects, sessions and trials that the prepared data set lacks."""
    known = prepared.subjects
    for subject in sorted(_pretraining_subjects(study) - set(known)):
        yield f"pretrain.subjects: {prepared.folder} has {known}, not {subject}"
    for subject in study.settings.subjects:
        if subject not in known:
            yield f"subjects: {prepared.folder} has {known}, not {subject}"
            continue
        trials = prepared.trials_of(subject)
        training = trials[trials["split"] != "test"]
        if not (trials["split"] == "test").any():
            yield f"{subject} has no test trials"
        for amount in study.settings.amounts:
            sessions = sorted(int(s) for s in training["session"].unique())
            absent = sorted(set(amount.sessions or ()) - set(sessions))
            if absent:
                yield f"{subject} has training trials in the sessions {sessions}, not {absent}"
                continue
            chosen = (
                training
                if amount.sessions is None
                else training[training["session"].isin(amount.sessions)]
            )
            if (amount.n_trials or 0) > len(chosen):
                yield f"{subject} has {len(chosen)} training trials, {amount.n_trials} are wanted"


def _pretraining_subjects(study: Study) -> set[str]:
    return {s for run in study.pretrainings.values() for s in run.subjects}
