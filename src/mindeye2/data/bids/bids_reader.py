"""Reader of fMRIPrep derivatives and BIDS events, with single-trial betas.

The source is a BIDS folder: ``sub-01/[ses-01/]func/*_events.tsv`` names the stimuli, or a table in
a folder above, which all runs of its name inherit (``task-look_events.tsv``), and
``derivatives/fmriprep`` has ``*_desc-preproc_bold.nii.gz``, ``*_desc-brain_mask.nii.gz`` and
``*_desc-confounds_timeseries.tsv`` of the same names. Responses are estimated run by run, when the
prepare stage reads them.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int64

from mindeye2.core.errors import ArtifactError, require
from mindeye2.core.settings import Settings
from mindeye2.data.arrays import ConcatenatedRows
from mindeye2.data.bids.bids_events import EventSettings, find_runs, read_events
from mindeye2.data.bids.fmriprep import RunBetas, find_derivative, open_run, read_confounds
from mindeye2.data.bids.nifti import load_mask, voxel_table
from mindeye2.data.bids.single_trial_glm import GlmSettings
from mindeye2.data.image_files import ImageFiles, ImageSettings, find_images
from mindeye2.data.known_images import ImageDesign
from mindeye2.data.source_dataset import Rows, SourceDataset
from mindeye2.data.splits import SplitSettings, make_splits
from mindeye2.data.trial_table import complete_trials, number_images

__all__ = ["BidsResponses", "BidsSettings", "read_bids", "read_responses"]

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


class BidsSettings(Settings):
    """Selection of runs, voxels and trials, and the GLM."""

    derivatives: str = "derivatives/fmriprep"
    """fMRIPrep's output, inside the source or absolute."""

    space: str | None = None
    """Space of the volumes, e.g. ``T1w``; needed where there are several."""

    events: EventSettings = EventSettings()
    """Rows of the events that are trials."""

    glm: GlmSettings = GlmSettings()
    """The general linear model of single-trial responses."""

    confounds: tuple[str, ...] = MOTION
    """Columns of fMRIPrep's confounds that are regressors; none where it is empty."""

    mask: str | None = None
    """NIfTI mask in the volumes' space, with ``{subject}`` in it where each subject has one; None
    for the voxels inside fMRIPrep's brain masks of all runs."""

    rois: Mapping[str, str] = {}
    """Regions and atlases: name and NIfTI file, which may have ``{subject}`` in it too."""

    images: str = "stimuli"
    """Folder of the stimuli, where BIDS has them."""

    stimuli: ImageSettings = ImageSettings()
    """Size and cropping of the stimuli."""

    design: ImageDesign = "new_images"
    """``known_images``: test trials show the same images as training trials ("which of these
    ten"). By default test images are shown in no training trial."""

    splits: SplitSettings = SplitSettings()
    """Held-out images, where the events have no column ``split``."""


@dataclass(frozen=True, kw_only=True)
class BidsResponses:
    """Trials, betas and voxels, without stimuli."""

    trials: pd.DataFrame
    """Trials that show an image; ``image`` is its name."""

    betas: dict[str, Rows]
    """Responses by subject."""

    voxels: dict[str, pd.DataFrame]
    """One row per voxel, by subject."""


def read_bids(source: Path, *, settings: BidsSettings) -> SourceDataset:
    """Read a BIDS folder with fMRIPrep derivatives.

    Parameters
    ----------
    source
        The folder.
    settings
        Runs, voxels, trials, model.

    Returns
    -------
    SourceDataset
        Responses are estimated and images are read while they are prepared.

    Raises
    ------
    ArtifactError
        If a file is missing or damaged, or files do not fit each other.
    """
    responses = read_responses(source, settings=settings)
    study = number_images(responses.trials, source=source)
    files = find_images(source / settings.images, study.names, setting="bids.images")
    notes = []
    if importlib.util.find_spec("glmsingle"):
        notes.append(
            "GLMsingle is installed: its betas are more reliable than one response shape for all "
            "voxels (Prince et al. 2022). Run it, then 'mindeye2 prepare glmsingle'."
        )
    images = ImageFiles(files, settings.stimuli)
    split = make_splits(
        study.trials, settings=settings.splits, kind="bids", design=settings.design
    )
    return SourceDataset(
        images=images,
        trials=study.trials.assign(split=split),
        design=settings.design,
        betas=responses.betas,
        voxels=responses.voxels,
        captions=study.captions or study.categories,
        categories=study.categories,
        notes=notes,
        facts={"converted_images": images.conversions(setting="bids.stimuli")},
    )


def read_responses(source: Path, *, settings: BidsSettings) -> BidsResponses:
    """Read trials and responses, without stimuli.

    Parameters
    ----------
    source
        The BIDS folder.
    settings
        Runs, voxels, trials, model.

    Returns
    -------
    BidsResponses
        Responses are estimated when they are read.

    Raises
    ------
    ArtifactError
        If a file is missing or damaged, or files do not fit each other.
    """
    derivatives = source / settings.derivatives
    if not derivatives.is_dir():
        raise ArtifactError(
            f"there is no folder {derivatives}. Run fMRIPrep, or set bids.derivatives to "
            "its output."
        )
    # Before hours of reading, not after.
    require("nilearn", extra="bids", purpose="Estimating single-trial responses")
    runs = find_runs(source, task=settings.events.task, derivatives=derivatives)
    tables, betas, voxels = [], {}, {}
    for subject in dict.fromkeys(r.subject for r in runs):
        own = [r for r in runs if r.subject == subject]
        volumes = [
            find_derivative(
                derivatives, r, ending="desc-preproc_bold.nii.gz", space=settings.space
            )
            for r in own
        ]
        inside, voxels[subject] = _voxels(source, volumes, subject=subject, settings=settings)
        run_betas = []
        for run, bold in zip(own, volumes, strict=True):
            events = read_events(run, settings=settings.events)
            shown = events[events["image"].notna()]
            if not len(shown):
                raise ArtifactError(
                    f"{run.events} has no trial with an image in the column "
                    f"{settings.events.image!r}. Choose the column with the setting "
                    "bids.events.image, or the task with bids.events.task."
                )
            columns = settings.confounds
            table = None
            if columns:
                ending = "desc-confounds_timeseries.tsv"
                table = find_derivative(derivatives, run, ending=ending)
                read_confounds(table, columns)  # before any volume is read
            run_betas.append(RunBetas(bold, table, events, inside, columns, settings.glm))
            tables.append(shown)
        betas[subject] = ConcatenatedRows(run_betas)
    together = pd.concat(tables, ignore_index=True)
    return BidsResponses(
        trials=complete_trials(together, source=source, kind="bids"),
        betas=dict(betas),
        voxels=voxels,
    )


def _voxels(
    source: Path, volumes: list[Path], *, subject: str, settings: BidsSettings
) -> tuple[Int64[np.ndarray, " voxels"], pd.DataFrame]:
    shapes = {path: open_run(path).shape[:3] for path in volumes}
    if settings.mask is not None:
        path = source / settings.mask.format(subject=subject)
        masks = {path: load_mask(path)}
    else:
        names = [p.name.replace("_desc-preproc_bold", "_desc-brain_mask") for p in volumes]
        paths = [p.with_name(name) for p, name in zip(volumes, names, strict=True)]
        masks = {path: load_mask(path) for path in paths}
    first, mask = next(iter(masks.items()))
    for path, shape in {**shapes, **{p: m.shape for p, m in masks.items()}}.items():
        if shape != mask.shape:
            raise ArtifactError(
                f"{path} has the shape {shape}, but the mask {first} has {mask.shape}. All runs "
                "and masks must be on one grid: choose one space with the setting bids.space."
            )
    inside = np.logical_and.reduce(list(masks.values()))
    rois = {n: source / file.format(subject=subject) for n, file in settings.rois.items()}
    return np.flatnonzero(inside.ravel()), voxel_table(inside, rois=rois)
