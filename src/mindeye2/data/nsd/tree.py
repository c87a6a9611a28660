"""Where the files of the Natural Scenes Dataset lie, and what to say of those that do not."""

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
    """Space and version of the betas."""

    @property
    def stimuli(self) -> Path:
        """All pictures."""
        return self.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"

    @property
    def design(self) -> Path:
        """Which picture is shown when, as planned."""
        return self.root / "nsddata/experiments/nsd/nsd_expdesign.mat"

    @property
    def stim_info(self) -> Path:
        """Where each picture comes from."""
        return self.root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"

    def captions(self) -> Path:
        """Return the folder of COCO's captions."""
        return self.settings.captions or self.stimuli.parent / "annotations"

    def responses(self, subject: str) -> Path:
        """Return the table of what a subject saw and pressed."""
        return self.root / "nsddata/ppdata" / subject / "behav/responses.tsv"

    def roi(self, subject: str, name: str) -> Path:
        """Return a region's volume."""
        space = self.settings.space
        return self.root / "nsddata/ppdata" / subject / space / "roi" / f"{name}.nii.gz"

    def labels(self, subject: str, name: str) -> list[Path]:
        """Return the files that may name a region's labels, best first."""
        folder = self.root / "nsddata/freesurfer"
        return [folder / who / "label" / f"{name}.mgz.ctab" for who in (subject, "fsaverage")]

    def betas(self, subject: str) -> Path:
        """Return the folder of a subject's betas."""
        settings = self.settings
        return self.root / "nsddata_betas/ppdata" / subject / settings.space / settings.betas

    def sessions(self, subject: str) -> dict[int, Path]:
        """Return the files of betas that are there, by session; HDF5 where both formats are."""
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
        """Return an error that names files and says where they come from."""
        names = [path.relative_to(self.root).as_posix() for path in paths]
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        return ArtifactError(
            f"{self.root} lacks {shown}. Give as --source the folder that holds nsddata, "
            "nsddata_betas and nsddata_stimuli, with paths as in the release; download what is "
            f"missing, e.g. aws s3 cp --no-sign-request s3://natural-scenes-dataset/{names[0]} "
            f"{self.root / names[0]}. {TERMS}"
        )


def find_subjects(tree: Tree) -> dict[str, dict[int, Path]]:
    """Find the betas that are asked for, and check that all that is needed beside them is there.

    Parameters
    ----------
    tree
        The download.

    Returns
    -------
    dict
        Files of betas by subject and session, ascending.

    Raises
    ------
    ArtifactError
        If files are missing: all of them are named.
    ValueError
        If there is no such subject in the release.
    """
    settings = tree.settings
    for subject in settings.subjects:
        check_choice("nsd.subjects", subject, SESSIONS)
    asked = settings.subjects or tuple(s for s in SESSIONS if tree.sessions(s))
    ending = "nii.gz" if settings.file_format == "nii.gz" else "hdf5"
    lacking = [] if tree.stimuli.exists() else [tree.stimuli]
    found = {}
    for subject in asked or ("subj01",):
        there = tree.sessions(subject)
        released = tuple(s for s in settings.sessions if s <= SESSIONS[subject])
        wanted = released or tuple(there) or (1,)
        names = {s: tree.betas(subject) / f"betas_session{s:02d}.{ending}" for s in wanted}
        lacking += [path for s, path in names.items() if s not in there]
        roi = tree.roi(subject, settings.roi)
        lacking += [] if roi.exists() else [roi]
        known = tree.responses(subject).exists() or tree.design.exists()
        lacking += [] if known else [tree.responses(subject)]
        found[subject] = {s: there[s] for s in sorted(wanted) if s in there}
    if lacking:
        raise tree.missing(lacking)
    return found
