"""Trials that a training uses, of each of its subjects."""

import torch

from mindeye2.core.errors import ArtifactError
from mindeye2.data.image_clusters import image_clusters
from mindeye2.data.prepared import Prepared
from mindeye2.stages.train.adapt import AdaptTraining
from mindeye2.stages.train.shared_subject import SharedTraining
from mindeye2.training.trials import SubjectTrials, TargetBank, load_trials

__all__ = ["training_trials"]


_FEWEST = 20


def training_trials(
    settings: SharedTraining | AdaptTraining, prepared: Prepared, *, tokens: TargetBank
) -> dict[str, SubjectTrials]:
    """Load the trials of each training subject.

    Clusters are those of `image_clusters` on the tokens. Raises ArtifactError if a subject has no
    trial, or fewer than 20 outside the cluster that is left out.
    """
    trials = {
        subject: load_trials(
            prepared,
            subject,
            settings.train_on,
            sessions=settings.sessions,
            n_trials=settings.n_trials,
        )
        for subject in settings.subjects or prepared.subjects
    }
    if settings.leave_out_cluster is None:
        return trials
    cluster = torch.from_numpy(image_clusters(tokens.values))
    kept = {s: t.rows(cluster[t.images] != settings.leave_out_cluster) for s, t in trials.items()}
    for subject, of_subject in kept.items():
        if len(of_subject) < _FEWEST:
            raise ArtifactError(
                f"leave_out_cluster={settings.leave_out_cluster} leaves {len(of_subject)} of "
                f"{len(trials[subject])} trials of {subject}, and training needs {_FEWEST}. "
                "Clusters are numbered by size, largest first: leave out a smaller one."
            )
    return kept
