"""Paths of the release's files below its folder, and the check that they exist."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mindeye2.core.errors import ArtifactError, check_choice
from mindeye2.data.nsd.facts import SESSIONS, TERMS
from mindeye2.data.nsd.nsd_settings import NsdSettings

__all__ = ["Tree", "find_subjects"]

_SESSION = re.compile(r"betas_session(\d{2})\.(hdf5|nii\.gz)$")
"""The folder of betas also holds maps such as ``meanbeta_session01.nii.gz``."""


@dataclass(frozen=True)
class Tree:
    """Paths below the folder that the release was downloaded to."""

    root: Path
    """Holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``."""

    settings: NsdSettings
    """Space and version of the betas, region, captions."""

    @property
    def stimuli(self) -> Path:
        """All stimuli."""
        return self.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"

    @property
    def design(self) -> Path:
        """The planned order of stimuli."""
        return self.root / "nsddata/experiments/nsd/nsd_expdesign.mat"

    @property
    def stim_info(self) -> Path:
        """The table of stimuli: their COCO ids and planned trials."""
        return self.root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"

    def captions(self) -> Path:
        """Return the folder of COCO's captions."""
        return self.settings.captions or self.stimuli.parent / "annotations"

    def responses(self, subject: str) -> Path:
        """Return the table of a subject's trials and button presses."""
        return self.root / "nsddata/ppdata" / subject / "behav/responses.tsv"

    def roi(self, subject: str, name: str) -> Path:
        """Return the volume of a region of interest."""
        space = self.settings.space
        return self.root / "nsddata/ppdata" / subject / space / "roi" / f"{name}.nii.gz"

    def labels(self, subject: str, name: str) -> list[Path]:
        """Return the files that may name a region's labels, best first."""
        folder = self.root / "nsddata/freesurfer"
        return [
            folder / name_of / "label" / f"{name}.mgz.ctab" for name_of in (subject, "fsaverage")
        ]

    def betas(self, subject: str) -> Path:
        """Return the folder of a subject's betas."""
        settings = self.settings
        return self.root / "nsddata_betas/ppdata" / subject / settings.space / settings.betas

    def sessions(self, subject: str) -> dict[int, Path]:
        """Return the existing files of betas by session; HDF5 where both formats exist."""
        wanted = self.settings.file_format
        found: dict[int, Path] = {}
        folder = self.betas(subject)
        # In reverse, so that .hdf5 comes after .nii.gz and stays.
        for path in sorted(folder.iterdir(), reverse=True) if folder.is_dir() else ():
            match = _SESSION.match(path.name)
            if match and wanted in ("auto", match[2]):
                found[int(match[1])] = path
        return dict(sorted(found.items()))

    def missing(self, paths: Iterable[Path]) -> ArtifactError:
        """Return an error that lists missing files and the command that downloads them."""
        names = [path.relative_to(self.root).as_posix() for path in paths]
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        return ArtifactError(
            f"{self.root} lacks {shown}. Give as --source the folder that holds nsddata, "
            "nsddata_betas and nsddata_stimuli, with paths as in the release; download what is "
            f"missing, e.g. aws s3 cp --no-sign-request s3://natural-scenes-dataset/{names[0]} "
            f"{self.root / names[0]}. {TERMS}"
        )


def find_subjects(tree: Tree) -> dict[str, dict[int, Path]]:
    """Find the betas of the chosen subjects by session; refuse where a needed file is missing."""
    settings = tree.settings
    for subject in settings.subjects:
        check_choice("nsd.subjects", subject, SESSIONS)
    chosen = settings.subjects or tuple(s for s in SESSIONS if tree.sessions(s))
    ending = "nii.gz" if settings.file_format == "nii.gz" else "hdf5"
    lacking = [] if tree.stimuli.exists() else [tree.stimuli]
    found = {}
    for subject in chosen or ("subj01",):
        present = tree.sessions(subject)
        wanted: set[int] = set()
        for asked in (settings.train_sessions, settings.test_sessions):
            wanted |= {s for s in asked if s <= SESSIONS[subject]} or set(present) or {1}
        names = {s: tree.betas(subject) / f"betas_session{s:02d}.{ending}" for s in sorted(wanted)}
        lacking += [path for s, path in names.items() if s not in present]
        roi = tree.roi(subject, settings.roi)
        lacking += [] if roi.exists() else [roi]
        known = tree.responses(subject).exists() or tree.design.exists()
        lacking += [] if known else [tree.responses(subject)]
        found[subject] = {s: present[s] for s in sorted(wanted) if s in present}
    if lacking:
        raise tree.missing(lacking)
    return found
