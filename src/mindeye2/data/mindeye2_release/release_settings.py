"""Settings of the adapter of MindEye2's published data."""

from typing import Annotated, Literal

from pydantic import Field

from mindeye2.core.settings import Settings

__all__ = ["ReleasedSettings"]


class ReleasedSettings(Settings):
    """Selection of subjects, training sessions and test set."""

    subjects: tuple[str, ...] = ()
    """E.g. ``[subj01]``; all subjects with betas by default."""

    train_sessions: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Sessions of the training and validation trials; all existing ones by default. As published,
    test trials are those of `test_set`, whatever this is. The paper's "one hour" is ``[1]``."""

    test_set: Literal["new_test", "test"] = "new_test"
    """``new_test``: shared images in all sessions, of subj01 3,000 trials of 1,000 images.
    ``test``: in the sessions that were public until August 2023, 2,770 trials of 982 images."""

    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """Fraction of each subject's own images in the validation split; 0 in published runs."""

    seed: int = 0
    """Seed of the choice of validation images."""
