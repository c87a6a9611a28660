"""Paths of the release's files below its folder, and the check that they exist."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mindeye2.core.errors import ArtifactError, check_choice
from mindeye2.data.laion_fmri.laion_fmri_facts import BUCKET, SESSIONS, SUBJECTS, TERMS
from mindeye2.data.laion_fmri.laion_fmri_settings import LaionFmriSettings

__all__ = ["LaionTree", "find_laion_sessions"]

_FILES = {
    "glmsingle-tedana": " --exclude '*' --include '*SingletrialBetas*' --include '*Noiseceiling*'",
    "rois": " --exclude '*' --include '*_space-T1w_*'",
    "stimuli": " --exclude '*_stimuli.h5' --exclude '*segmentations*'",
}
"""Files to download of a folder: beside the betas there are larger ones that nothing reads."""


@dataclass(frozen=True)
class LaionTree:
    """Paths below the folder that the release was downloaded to."""

    root: Path
    """Holds ``derivatives`` and ``stimuli``."""

    settings: LaionFmriSettings
    """Subjects, sessions, voxels, embeddings."""

    def glmsingle(self, subject: str = "") -> Path:
        """Return the folder of a subject's betas and noise ceilings, or that of all."""
        return self.root / "derivatives/glmsingle-tedana" / subject

    def betas(self, subject: str, session: int) -> Path:
        """Return the betas of a session, one volume per trial."""
        return self._of_session(
            subject, session, "space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"
        )

    def trials(self, subject: str, session: int) -> Path:
        """Return the table of a session's trials."""
        return self._of_session(subject, session, "desc-SingletrialBetas_trials.tsv")

    def _of_session(self, subject: str, session: int, ending: str) -> Path:
        stem = f"{subject}_ses-{session:02d}_task-images"
        return self.glmsingle(subject) / f"ses-{session:02d}/func" / f"{stem}_{ending}"

    def noise_ceiling(self, subject: str, name: str) -> Path:
        """Return a map of noise ceilings: of ``"4rep"``, ``"12rep"`` or ``"Allrep"``."""
        file = f"{subject}_task-images_space-T1w_desc-Noiseceiling{name}_statmap.nii.gz"
        return self.glmsingle(subject) / file

    def roi_folder(self, subject: str) -> Path:
        """Return the folder of a subject's regions, with a folder for each category."""
        return self.root / "derivatives/rois" / subject

    def rois(self, subject: str) -> dict[str, Path]:
        """Return the existing masks of regions by name, in the order of their paths."""
        pattern = re.compile(rf"{subject}_space-T1w_res-1pt8_label-(.+)_mask\.nii\.gz$")
        paths = sorted(self.roi_folder(subject).glob(f"*/{subject}_space-T1w_*_mask.nii.gz"))
        return {match[1]: path for path in paths if (match := pattern.match(path.name))}

    @property
    def metadata(self) -> Path:
        """The table of all images, in the order of the file of images."""
        return self.root / "stimuli/task-images_metadata.csv"

    @property
    def images(self) -> Path:
        """All images; not public."""
        return self.root / "stimuli/task-images_stimuli.h5"

    @property
    def captions(self) -> Path:
        """Captions of all images."""
        return self.root / "stimuli/task-images_desc-captions.csv"

    def embedding(self, name: str) -> Path:
        """Return a published embedding of all images."""
        return self.root / f"stimuli/task-images_desc-{name}_embeddings.h5"

    def sessions(self, subject: str) -> list[int]:
        """Return the sessions with betas or a table of trials, ascending."""
        paths = self.glmsingle(subject).glob("ses-*/func/*_desc-SingletrialBetas_*")
        found = {re.match(r"ses-(\d+)$", p.parent.parent.name) for p in paths}
        return sorted({int(match[1]) for match in found if match and int(match[1]) <= SESSIONS})

    def command(self, path: Path) -> str:
        """Return the command that downloads the folder of a file: all that is read of it."""
        inside = path.relative_to(self.root).as_posix()
        folder = re.sub(r"^((derivatives/[^/]+/[^/]+)|stimuli).*", r"\1", inside)
        kind = next(files for name, files in _FILES.items() if name in folder)
        return f"aws s3 sync --no-sign-request {BUCKET}/{folder} {self.root / folder}{kind}"

    def missing(self, paths: Iterable[Path]) -> ArtifactError:
        """Return an error that lists missing files and the commands that download them."""
        paths = list(paths)
        names = [path.relative_to(self.root).as_posix() for path in paths]
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        commands = dict.fromkeys(self.command(path) for path in paths)
        return ArtifactError(
            f"{self.root} lacks {shown}. Give as --source the folder that holds derivatives and "
            "stimuli, with paths as in the release; download what is missing, without an account "
            f"or a form: {'; '.join(commands)}. {TERMS}"
        )


def find_laion_sessions(tree: LaionTree) -> dict[str, list[int]]:
    """Find the sessions of the chosen subjects; refuse where a needed file is missing."""
    settings = tree.settings
    for subject in settings.subjects:
        check_choice("laion_fmri.subjects", subject, SUBJECTS)
    chosen = settings.subjects or tuple(s for s in SUBJECTS if tree.sessions(s))
    found: dict[str, list[int]] = {}
    lacking: list[Path] = []
    for subject in chosen or SUBJECTS[:1]:
        present = tree.sessions(subject) or [1]
        wanted = {*(settings.train_sessions or present), *(settings.test_sessions or present)}
        found[subject] = sorted(wanted)
        needed = [f(subject, s) for s in found[subject] for f in (tree.betas, tree.trials)]
        if settings.min_noise_ceiling is not None:
            needed.append(tree.noise_ceiling(subject, settings.noise_ceiling))
        lacking += [path for path in needed if not path.exists()]
    lacking += [] if tree.metadata.exists() else [tree.metadata]
    lacking += [p for n in settings.embeddings if not (p := tree.embedding(n)).exists()]
    if lacking:
        raise tree.missing(lacking)
    if not settings.embeddings and not tree.images.exists():
        raise ArtifactError(
            f"{tree.images} does not exist, and laion_fmri.embeddings is empty: nothing is left "
            "to decode. Choose published embeddings, or accept the terms of the images with the "
            "package laion_fmri: laion-fmri download-stimuli."
        )
    return found
