"""Settings of the adapter of MindEye2's published files."""

from typing import Annotated, Literal

from pydantic import Field

from mindeye2.core.settings import Settings

__all__ = ["ReleasedSettings"]


class ReleasedSettings(Settings):
    """What to take from MindEye2's published files."""

    subjects: tuple[str, ...] = ()
    """E.g. ``[subj01]``; all whose betas are there by default."""

    sessions: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Sessions to train on; all that are there by default. As published, test trials are those of
    all sessions whatever is trained on."""

    test_set: Literal["new_test", "test"] = "new_test"
    """``new_test``: shared images in all sessions, of subj01 3,000 trials of 1,000 images.
    ``test``: in the sessions that were public before, 2,770 trials of 982 images."""

    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """Share of each subject's own images in the validation split; published runs have none."""

    seed: int = 0
    """Seeds the validation images."""
