"""What a plan is made for: data and sizes, from folders or from what is published."""

from collections.abc import Sequence
from pathlib import Path

from mindeye2.core.errors import check_choice
from mindeye2.data.prepared import open_prepared
from mindeye2.models.model_settings import ModelSettings
from mindeye2.planning.data_size import DataSize, nsd_size, prepared_size
from mindeye2.recipes import TRAINING, standard
from mindeye2.released import open_brain_decoder
from mindeye2.stages.train import AdaptTraining, SharedTraining, TrainSettings

__all__ = ["choose_data", "choose_sizes", "plannable"]

HELD_BACK = "subj01"
"""The subject of NSD that the published pretraining for subject 1 leaves out."""


def plannable(settings: TrainSettings) -> SharedTraining | AdaptTraining:
    """Return the settings of a brain decoder's training, or raise ValueError for others."""
    if isinstance(settings, SharedTraining | AdaptTraining):
        return settings
    names = [n for n, recipe in TRAINING.items() if isinstance(recipe(), SharedTraining)]
    raise ValueError(
        f"only trainings of a brain decoder are planned: {[*names, 'adapt']}. For an image "
        "decoder see benchmarks/gpu.py."
    )


def choose_data(
    settings: SharedTraining | AdaptTraining,
    *,
    source: Path | None = None,
    voxels: Sequence[int] = (),
) -> DataSize:
    """Return the counts of the subjects that a training uses.

    Parameters
    ----------
    settings
        Name the subjects and sessions, or all.
    source
        Prepared data set.
    voxels
        Voxels of each subject instead; without either, those of NSD.

    Returns
    -------
    DataSize
        Counts of the chosen subjects and sessions.
    """
    if source is not None and voxels:
        raise ValueError("give --source or --voxels, not both.")
    data = nsd_size(voxels) if source is None else prepared_size(open_prepared(source))
    if voxels:
        return data
    if isinstance(settings, AdaptTraining):
        subjects: Sequence[str] = (settings.subject,)
    elif settings.subjects is not None:
        subjects = settings.subjects
    else:
        subjects = [s for s in data.n_voxels if source is not None or s != HELD_BACK]
    setting = "subject" if isinstance(settings, AdaptTraining) else "subjects"
    for subject in subjects:
        check_choice(f"--set {setting}", subject, data.n_voxels)
    data = data.of(subjects)
    return data if settings.sessions is None else data.first(len(settings.sessions))


def choose_sizes(init: Path | None) -> ModelSettings:
    """Return the sizes of a pretrained model; by default those of the recipe `standard`."""
    return standard().model if init is None else open_brain_decoder(init).settings
