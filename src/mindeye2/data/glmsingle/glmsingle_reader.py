"""Reader of GLMsingle outputs and their trials (Prince et al. 2022, eLife 11:e77599).

The source is an output folder, or a folder with several at any depth, named by subject and
session: ``sub-01/ses-02/TYPED_FITHRF_GLMDENOISE_RR.npy``. The trials of a folder are those of the
first of these that exists:

* ``trials.csv`` in it;
* ``trials.csv`` at the top of the source: the rows of that subject, and of that session where the
  folder is of one session;
* the event tables of a BIDS folder, the setting ``bids``, run by run in the order of onsets.

They must be in the order of GLMsingle's trials, which is checked against ``DESIGNINFO``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int64

from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import Settings
from mindeye2.data.arrays import ConcatenatedRows
from mindeye2.data.bids.bids_events import EventSettings, find_runs, read_events
from mindeye2.data.bids.dataset_description import recorded_version
from mindeye2.data.bids.nifti import find_above, load_mask, voxel_table
from mindeye2.data.glmsingle.glmsingle_files import (
    RESULTS,
    Design,
    VolumeBetas,
    betas_shape,
    find_result,
    read_design,
)
from mindeye2.data.image_files import ImageFiles, ImageSettings, find_images
from mindeye2.data.known_images import ImageDesign
from mindeye2.data.source_dataset import Rows, SourceDataset
from mindeye2.data.splits import SplitSettings, make_splits
from mindeye2.data.trial_table import complete_trials, number_images, read_table

__all__ = ["GlmsingleSettings", "read_glmsingle"]


class GlmsingleSettings(Settings):
    """Selection of outputs, voxels and trials. Paths are inside the source, or absolute."""

    kind: Literal["B", "C", "D"] = "D"
    """Type of betas: fitted HRF (B), also denoised (C), also ridge-regularised (D)."""

    mask: str = "mask.nii.gz"
    """NIfTI mask in the output folder or above it; without one, the voxels
    that are finite and vary in all sessions of the subject."""

    rois: Mapping[str, str] = {}
    """Regions and atlases: name and NIfTI file in the output folder or above it."""

    trials: str = "trials.csv"
    """The trial table."""

    columns: Mapping[str, str] = {}
    """Names of the table's columns, where they differ from the standard names."""

    bids: str | None = None
    """BIDS folder with the events that are the trials, where there is no table."""

    events: EventSettings = EventSettings()
    """Rows of the events that are trials."""

    images: str = "images"
    """Folder of the stimuli."""

    stimuli: ImageSettings = ImageSettings()
    """Size and cropping of the stimuli."""

    design: ImageDesign = "new_images"
    """``known_images``: test trials show the same images as training trials ("which of these
    ten"). By default test images are shown in no training trial."""

    splits: SplitSettings = SplitSettings()
    """Held-out images, where the table has no column ``split``."""


@dataclass(frozen=True, kw_only=True)
class _Output:
    """One output folder of GLMsingle."""

    folder: Path
    path: Path
    subject: str | None
    session: str | None
    shape: tuple[int, int, int, int]
    design: Design | None


def read_glmsingle(source: Path, *, settings: GlmsingleSettings) -> SourceDataset:
    """Read GLMsingle outputs.

    Parameters
    ----------
    source
        An output folder, or one with several below it.
    settings
        Type of betas, voxels, trials.

    Returns
    -------
    SourceDataset
        Betas and images are read while they are prepared.

    Raises
    ------
    ArtifactError
        If a file is missing, damaged or unsafe to read, or trials and betas do not fit each other.
    """
    outputs = _find_outputs(source, settings)
    tables: list[pd.DataFrame] = []
    rows_of_output: list[Int64[np.ndarray, " trials"]] = []
    for output in outputs:
        table, rows = _trials(output, source, settings)
        if "session" not in table:
            # Session labels that are not numbers are counted in their order.
            before = [t for t in tables if t["subject"].iloc[0] == table["subject"].iloc[0]]
            table = table.assign(session=len(before) + 1)
        tables.append(table)
        rows_of_output.append(rows)
    together = pd.concat(tables, ignore_index=True)
    study = number_images(
        complete_trials(together, source=source, kind="glmsingle"), source=source
    )
    subjects = [str(table["subject"].iloc[0]) for table in tables]
    betas: dict[str, Rows] = {}
    voxels = {}
    for subject in dict.fromkeys(subjects):
        own = [
            (o, r)
            for o, r, s in zip(outputs, rows_of_output, subjects, strict=True)
            if s == subject
        ]
        indices, voxels[subject] = _voxels([o for o, _ in own], source, settings)
        betas[subject] = ConcatenatedRows([VolumeBetas(o.path, indices, rows) for o, rows in own])
    files = find_images(source / settings.images, study.names, setting="glmsingle.images")
    split = make_splits(
        study.trials, settings=settings.splits, kind="glmsingle", design=settings.design
    )
    images = ImageFiles(files, settings.stimuli)
    return SourceDataset(
        images=images,
        trials=study.trials.assign(split=split),
        design=settings.design,
        betas=betas,
        voxels=voxels,
        captions=study.captions or study.categories,
        categories=study.categories,
        facts={
            "converted_images": images.conversions(setting="glmsingle.stimuli"),
            "glmsingle": {
                str(o.path.relative_to(source)): _recorded_facts(o, source) for o in outputs
            },
        },
    )


def _recorded_facts(output: _Output, source: Path) -> object:
    """Return GLMsingle's options, and its version where the outputs or a BIDS description do."""
    version = recorded_version("GLMsingle", start=output.folder, stop=source)
    facts = output.design.facts if output.design else {"design": "no DESIGNINFO"}
    return {**facts, "version": version} if version else facts


def _find_outputs(source: Path, settings: GlmsingleSettings) -> list[_Output]:
    if not source.is_dir():
        raise ArtifactError(
            f"--source {source} is not a folder. Give GLMsingle's output folder, with "
            f"{RESULTS[settings.kind]}.npy, .hdf5 or .mat."
        )
    stem = RESULTS[settings.kind]
    folders = sorted({p.parent for p in source.rglob(f"{stem}.*")})
    outputs = []
    for folder in folders:
        path = find_result(folder, settings.kind)
        if path is None:
            continue
        inside = "/" + folder.relative_to(source).as_posix()
        subject = re.search(r"/(sub(?:j|-)?\w+)", inside)
        session = re.search(r"/ses(?:sion)?-?(\w+)", inside)
        outputs.append(
            _Output(
                folder=folder,
                path=path,
                subject=subject[1] if subject else None,
                session=session[1] if session else None,
                shape=betas_shape(path),
                design=read_design(folder),
            )
        )
    if not outputs:
        other_types = sorted(k for k, s in RESULTS.items() if any(source.rglob(f"{s}.*")))
        hint = (
            f" Types {other_types} exist: --set glmsingle.kind={other_types[-1]}."
            if other_types
            else ""
        )
        raise ArtifactError(
            f"{source} has no {stem}.npy, .hdf5 or .mat, at any depth. Give the folder that "
            f"GLMsingle wrote, with the option wantfileoutputs on for that type.{hint}"
        )
    return outputs


def _trials(
    output: _Output, source: Path, settings: GlmsingleSettings
) -> tuple[pd.DataFrame, Int64[np.ndarray, " trials"]]:
    """Return the trials that show an image, and their rows in the file."""
    n_trials = output.shape[3]
    found, name = _all_trials(output, source, settings)
    shown = found["image"].notna().to_numpy()
    if len(found) == n_trials:
        rows = np.flatnonzero(shown)
    elif int(shown.sum()) == n_trials:
        found, rows = found[shown], np.arange(n_trials)
        shown = np.ones(n_trials, bool)
    else:
        runs = found.groupby("run").size().tolist() if "run" in found else len(found)
        fitted = f", by run {list(output.design.trials_per_run)}" if output.design else ""
        raise ArtifactError(
            f"{output.path} has {n_trials} trials{fitted}, but {name} has {len(found)}, by run "
            f"{runs}, {int(shown.sum())} of them with an image. Give the trials of GLMsingle's "
            "design in its order: run by run, by onset. Rows that are not trials can be left "
            "out with the setting glmsingle.events.drop."
        )
    if output.design is not None:
        _check_order(output, found["image"].to_numpy(), name=name)
    return found[shown].reset_index(drop=True), rows.astype(np.int64)


def _all_trials(
    output: _Output, source: Path, settings: GlmsingleSettings
) -> tuple[pd.DataFrame, str]:
    for folder in dict.fromkeys((output.folder, source)):
        path = folder / settings.trials
        if not path.is_file():
            continue
        text = ("image", settings.columns.get("image", "image"))
        table = read_table(path, text=text).rename(
            columns={column: name for name, column in settings.columns.items()}
        )
        if "image" not in table:
            complete_trials(
                table, source=path, kind="glmsingle"
            )  # refuses it and names the column
        if folder != output.folder:
            table = _rows_of(table, output, path)
        if "subject" not in table:
            table = table.assign(subject=output.subject or "subj01")
        if "session" not in table and (output.session or "").isdecimal():
            table = table.assign(session=int(output.session or 1))
        return table, str(path)
    if settings.bids is None:
        places = dict.fromkeys((output.folder / settings.trials, source / settings.trials))
        raise ArtifactError(
            f"there are no trials for {output.path}: {' and '.join(map(str, places))} "
            f"{'do' if len(places) > 1 else 'does'} not exist. Write one row per trial in "
            "GLMsingle's order, with a column 'image'; name the table with "
            "--set glmsingle.trials=FILE, or a BIDS folder with --set glmsingle.bids=FOLDER."
        )
    root = source / settings.bids
    label = re.sub(r"^sub(j|-)?", "", output.subject) if output.subject else None
    runs = find_runs(root, task=settings.events.task, subject=label, kind="glmsingle")
    if output.session is not None:
        runs = [r for r in runs if r.labels.get("ses") == output.session]
    if not runs or len({r.subject for r in runs}) > 1:
        raise ArtifactError(
            f"{root} has events of {sorted({r.subject for r in runs}) or 'no subject'}, and "
            f"the path {output.path} does not name its subject: name its folders sub-<label> and "
            "ses-<label>, as in the BIDS folder."
        )
    tables = [read_events(r, settings=settings.events, kind="glmsingle") for r in runs]
    events = pd.concat(tables, ignore_index=True)
    return events, f"the events of {runs[0].subject} in {root}"


def _rows_of(table: pd.DataFrame, output: _Output, path: Path) -> pd.DataFrame:
    """Return the rows of one output in a table of several."""
    digits = re.sub(r"\D", "", output.subject or "")
    if "subject" in table and output.subject is not None:
        names = table["subject"].astype(str)
        same = names == output.subject
        if not same.any() and digits:
            same = names.str.replace(r"\D", "", regex=True).str.lstrip("0") == digits.lstrip("0")
        table = table[same]
    if "session" in table and (output.session or "").isdecimal():
        table = table[table["session"] == int(output.session or 0)]
    if not len(table):
        raise ArtifactError(
            f"{path} has no rows of subject {output.subject!r}, session {output.session!r} of "
            f"{output.folder}. The column 'subject' must have this name."
        )
    return table.assign(subject=output.subject or table["subject"].iloc[0])


def _check_order(output: _Output, images: np.ndarray, *, name: str) -> None:
    """Refuse trials in another order than GLMsingle's, in which an image has two conditions."""
    conditions = output.design.conditions if output.design else np.empty(0)
    if len(conditions) != len(images) or len(np.unique(conditions)) == len(conditions):
        return  # without repeats the order cannot be checked
    seen: dict[str, tuple[int, int]] = {}
    for row, (image, condition) in enumerate(zip(images, conditions, strict=True)):
        if pd.isna(image):
            continue
        first, before = seen.setdefault(image, (row, int(condition)))
        if before != condition:
            raise ArtifactError(
                f"{name} is not in the order of GLMsingle's trials: image "
                f"{image!r} is in rows {first} and {row}, which are the conditions {before} and "
                f"{condition} in {output.folder}'s DESIGNINFO. Sort the trials run by run, by "
                "onset, and leave out what was not modelled."
            )


def _voxels(
    outputs: list[_Output], source: Path, settings: GlmsingleSettings
) -> tuple[Int64[np.ndarray, " voxels"], pd.DataFrame]:
    shapes = {o.shape[:3] for o in outputs}
    if len(shapes) > 1:
        raise ArtifactError(
            f"the sessions of {outputs[0].subject} have volumes of the shapes {sorted(shapes)}. "
            "Resample them to one grid before GLMsingle is run."
        )
    shape, start = shapes.pop(), outputs[0].folder
    path = find_above((settings.mask, "mask.nii"), start=start, stop=source)
    if path is None and settings.mask != GlmsingleSettings().mask:
        raise ArtifactError(f"there is no mask {settings.mask} in {start} or above it.")
    if path is None:
        mask = np.ones(shape, bool)
        mask &= np.logical_and.reduce([_varying(o) for o in outputs])
    else:
        mask = load_mask(path)
        if mask.shape != shape:
            raise ArtifactError(
                f"the mask {path} has the shape {mask.shape}, but the betas in {outputs[0].path} "
                f"have {shape}. Give a mask on the grid of GLMsingle's input."
            )
    rois = {}
    for name, file in settings.rois.items():
        found = find_above((file,), start=start, stop=source)
        if found is None:
            raise ArtifactError(f"there is no region {file} in {start} or above it.")
        rois[name] = found
    return np.flatnonzero(mask.ravel()), voxel_table(mask, rois=rois)


def _varying(output: _Output) -> np.ndarray:
    x, y, z, n_trials = output.shape
    volume = VolumeBetas(output.path, np.arange(x * y * z), np.arange(n_trials))
    low = np.full(x * y * z, np.inf)
    high = np.full(x * y * z, -np.inf)
    step = max(1, 2**26 // (x * y * z))
    with np.errstate(invalid="ignore"):
        for start in range(0, n_trials, step):
            block = volume[start : start + step]
            low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
        # NaN and infinity fail this comparison, like constants.
        inside = np.asarray((high - low > 0) & np.isfinite(high - low))
    return inside.reshape(x, y, z)
