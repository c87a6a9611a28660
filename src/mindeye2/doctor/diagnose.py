"""Run all checks on the environment and on the folders that stages wrote."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import peak_memory_gib
from mindeye2.doctor.counts import check_counts, check_trial_table
from mindeye2.doctor.dataset_view import open_dataset, scan_betas
from mindeye2.doctor.duplicates import check_duplicate_sessions, check_duplicate_subjects
from mindeye2.doctor.environment import check_environment
from mindeye2.doctor.finding import LEVELS, Finding
from mindeye2.doctor.image_features import image_features
from mindeye2.doctor.image_overlap import check_images, make_thumbnails
from mindeye2.doctor.integrity import check_files, check_manifest, read_damaged_manifest
from mindeye2.doctor.repeats import check_repeats
from mindeye2.doctor.results import check_reconstruction, check_run, check_scores
from mindeye2.doctor.trial_order import check_trial_order
from mindeye2.doctor.voxel_values import check_voxels
from mindeye2.doctor.zscoring import check_masks, check_zscoring

__all__ = ["Diagnosis", "doctor"]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Findings of all checks."""

    findings: list[Finding]
    """The environment first, then each folder, in the order of the checks."""

    seconds: float
    """Wall-clock time of the checks."""

    peak_memory_gib: float
    """Largest resident memory of the process."""

    @property
    def is_wrong(self) -> bool:
        """Return whether there is an error or a warning."""
        return any(f.is_wrong for f in self.findings)

    def count(self, level: str) -> int:
        """Count the findings of one level."""
        return sum(f.level == level for f in self.findings)

    def as_json(self) -> str:
        """Return all findings as one indented JSON object."""
        facts = {"wrong": self.is_wrong, "counts": {level: self.count(level) for level in LEVELS}}
        return json.dumps({**facts, **asdict(self)}, indent=1)


def doctor(path: Path | None = None, *, hashes: bool = True) -> Diagnosis:
    """Check the environment and, if given, a folder.

    Parameters
    ----------
    path
        A prepared data set, a run, reconstructions, scores or a report; or a folder that holds
        several of them.
    hashes
        Read every file and compare its SHA-256 with the manifest; else compare sizes only.

    Returns
    -------
    Diagnosis
        One finding or more of each check.

    Raises
    ------
    ArtifactError
        If there is no such folder.
    """
    start = time.monotonic()
    if path is not None and not path.is_dir():
        raise ArtifactError(
            f"{path} is not a folder. Give the folder of a stage, a folder of such folders, or "
            "nothing to check the environment only."
        )
    findings = check_environment(path)
    for folder in _stage_folders(path) if path else []:
        findings += _check_folder(folder, hashes=hashes)
    return Diagnosis(
        findings=findings,
        seconds=round(time.monotonic() - start, 1),
        peak_memory_gib=round(peak_memory_gib(), 2),
    )


def _stage_folders(path: Path) -> list[Path]:
    """Return the folder itself, or the folders in it that a stage wrote or started to write."""

    def is_stage(folder: Path) -> bool:
        return any((folder / name).exists() for name in ("manifest.json", "config.yaml"))

    if is_stage(path):
        return [path]
    return sorted(p for p in path.iterdir() if p.is_dir() and is_stage(p)) or [path]


def _check_folder(folder: Path, *, hashes: bool) -> list[Finding]:
    manifest = read_damaged_manifest(folder)
    if manifest is None:
        return check_manifest(folder)
    findings = check_files(folder, manifest, hashes=hashes)
    check = STAGES.get(str(manifest.get("stage")))
    if check is None:
        return findings
    try:
        findings += check(folder, manifest)
    except (OSError, ValueError, KeyError, EOFError) as error:
        if not any(f.is_wrong for f in findings):
            raise
        text = f"not checked further because files are damaged ({type(error).__name__})"
        findings.append(Finding("note", "files", where=folder.name, found=text))
    return findings


def _check_dataset(folder: Path, manifest: dict[str, Any]) -> list[Finding]:
    """Run every check of a prepared data set that its damage leaves possible."""
    view, findings = open_dataset(folder, manifest)
    findings += [*check_counts(view), *check_trial_table(view), *check_masks(view)]
    features, source = None, ""
    if view.n_images is not None and view.trials is not None:
        thumbnails = None if view.images is None else make_thumbnails(view)
        findings += check_images(view, thumbnails)
        if view.trials["image"].between(0, view.n_images - 1).all():
            features, source = image_features(view, thumbnails)
    first_sessions = {}
    for subject in view.matched_subjects:
        stats = scan_betas(view, subject)
        first_sessions[subject] = stats.rows(int(stats.sessions[0]))
        findings += check_voxels(view, stats)
        findings += check_zscoring(view, stats)
        findings += check_duplicate_sessions(view, stats)
        findings += check_repeats(view, stats)
        if features is not None:
            findings += check_trial_order(view, stats, features, source=source)
    findings += check_duplicate_subjects(view, first_sessions)
    skipped = [s for s in view.prepared.subjects if s not in first_sessions]
    if skipped:
        text = "betas were not checked: they or the trial table are damaged or inconsistent"
        findings.append(Finding("note", "voxels", where=", ".join(skipped), found=text))
    return findings


STAGES: dict[str, Callable[[Path, dict[str, Any]], list[Finding]]] = {
    "prepare": _check_dataset,
    "train": check_run,
    "reconstruct": check_reconstruction,
    "evaluate": check_scores,
}
"""Checks of each stage's folder; of other stages only the files are checked."""
