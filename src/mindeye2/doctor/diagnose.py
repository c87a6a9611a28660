"""Examine the environment and the folders that stages filled, and say what is wrong."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import peak_memory_gib
from mindeye2.doctor.counts import check_counts, check_table
from mindeye2.doctor.duplicates import check_duplicate_sessions, check_duplicate_subjects
from mindeye2.doctor.environment import check_environment
from mindeye2.doctor.features import image_features
from mindeye2.doctor.files import check_files, check_manifest, read_loosely
from mindeye2.doctor.finding import LEVELS, Finding
from mindeye2.doctor.order import check_order
from mindeye2.doctor.pictures import check_pictures, make_thumbnails
from mindeye2.doctor.repeats import check_repeats
from mindeye2.doctor.results import check_reconstruction, check_run, check_scores
from mindeye2.doctor.scaling import check_masks, check_scaling
from mindeye2.doctor.study import Study, open_study, scan_subject
from mindeye2.doctor.voxels import check_voxels

__all__ = ["Diagnosis", "doctor", "examine_data"]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Everything that was examined."""

    findings: list[Finding]
    """The environment first, then each folder, in the order of the checks."""

    seconds: float
    """How long it took."""

    peak_memory_gib: float
    """Largest memory of the process."""

    @property
    def is_wrong(self) -> bool:
        """Whether there is an error or a warning."""
        return any(f.is_wrong for f in self.findings)

    def count(self, level: str) -> int:
        """Count the findings of one level.

        Parameters
        ----------
        level
            A key of `LEVELS`.

        Returns
        -------
        int
            How many.
        """
        return sum(f.level == level for f in self.findings)

    def as_json(self) -> str:
        """Return everything as one JSON object.

        Returns
        -------
        str
            Indented.
        """
        facts = {"wrong": self.is_wrong, "counts": {level: self.count(level) for level in LEVELS}}
        return json.dumps({**facts, **asdict(self)}, indent=1)


def doctor(path: Path | None = None, *, hashes: bool = True) -> Diagnosis:
    """Examine the environment and, where given, a folder.

    Parameters
    ----------
    path
        A prepared data set, a run, reconstructions, scores or a report; or a folder that holds
        several of them.
    hashes
        Read every file and compare its SHA-256 with the manifest; else sizes only.

    Returns
    -------
    Diagnosis
        What was found.

    Raises
    ------
    ArtifactError
        If there is no such folder.
    """
    began = time.monotonic()
    if path is not None and not path.is_dir():
        raise ArtifactError(
            f"{path} is not a folder. Give one that a stage filled, a folder of such folders, or "
            "nothing to look at the environment alone."
        )
    findings = check_environment(path)
    for folder in _folders(path) if path else []:
        findings += _examine(folder, hashes=hashes)
    return Diagnosis(
        findings=findings,
        seconds=round(time.monotonic() - began, 1),
        peak_memory_gib=round(peak_memory_gib(), 2),
    )


def _folders(path: Path) -> list[Path]:
    """Return the folder itself, or those below it that a stage filled or began."""
    if any((path / name).exists() for name in ("manifest.json", "config.yaml")):
        return [path]
    below = sorted(p for p in path.iterdir() if p.is_dir())
    found = [p for p in below if (p / "manifest.json").exists() or (p / "config.yaml").exists()]
    return found or [path]


def _examine(folder: Path, *, hashes: bool) -> list[Finding]:
    manifest = read_loosely(folder)
    if manifest is None:
        return check_manifest(folder)
    findings = check_files(folder, manifest, hashes=hashes)
    look = STAGES.get(str(manifest.get("stage")))
    if look is None:
        return findings
    try:
        findings += look(folder, manifest)
    except (OSError, ValueError, KeyError, EOFError) as error:
        if not any(f.is_wrong for f in findings):
            raise
        text = f"not examined further: damaged files are in the way ({type(error).__name__})"
        findings.append(Finding(level="note", check="files", where=folder.name, found=text))
    return findings


def examine_data(folder: Path, manifest: dict[str, Any]) -> list[Finding]:
    """Examine a prepared data set.

    Parameters
    ----------
    folder
        The data set, damaged or not.
    manifest
        Its manifest.

    Returns
    -------
    list of Finding
        From every check that the damage leaves possible.
    """
    study, findings = open_study(folder, manifest)
    findings += [*check_counts(study), *check_table(study), *check_masks(study)]
    features, source = None, ""
    if study.images is not None and study.trials is not None:
        thumbnails = make_thumbnails(study)
        findings += check_pictures(study, thumbnails)
        if study.trials["image"].between(0, len(study.images) - 1).all():
            features, source = image_features(study, thumbnails)
    first_rows = {}
    for subject in study.paired:
        scan = scan_subject(study, subject)
        first_rows[subject] = scan.rows(int(scan.sessions[0]))
        findings += check_voxels(study, scan)
        findings += check_scaling(study, scan)
        findings += check_duplicate_sessions(study, scan)
        findings += check_repeats(study, scan)
        if features is not None:
            findings += check_order(study, scan, features, source=source)
    findings += check_duplicate_subjects(study, first_rows)
    return findings + _skipped(study)


def _skipped(study: Study) -> list[Finding]:
    skipped = [s for s in study.prepared.subjects if s not in study.paired]
    if not skipped:
        return []
    found = "betas were not examined: they, or the table, are damaged or do not fit each other"
    return [Finding(level="note", check="voxels", where=", ".join(skipped), found=found)]


STAGES: dict[str, Callable[[Path, dict[str, Any]], list[Finding]]] = {
    "prepare": examine_data,
    "train": check_run,
    "reconstruct": check_reconstruction,
    "evaluate": check_scores,
}
"""How the folder of each stage is examined; those of other stages have their files compared."""
