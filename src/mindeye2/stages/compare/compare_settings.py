"""Settings of the compare stage: arms, metrics, margin, resampling."""

from typing import Annotated

from pydantic import Field

from mindeye2.core.settings import Settings

__all__ = ["CompareSettings"]


class CompareSettings(Settings):
    """Settings of the stage ``compare``."""

    names: tuple[str, ...] = ()
    """Arm of each run, in their order: runs of one name are an arm, with further subjects, seeds
    or amounts of data. By default recipe and settings that differ, as the runs recorded them; for
    runs without such groups the names of their folders."""

    reference: str | None = None
    """Arm that the others are compared with, at the same amount of data where there are several;
    by default that of the first run."""

    metrics: tuple[str, ...] = ()
    """Metrics to compare, as ``summary.json`` names them; by default all that the runs share.
    Fewer metrics, chosen beforehand, lose less to Holm's correction."""

    trials_per_minute: Annotated[float, Field(gt=0)] | None = None
    """Trials in a minute of scanning, for learning curves over minutes instead of trials; NSD has
    12.5, of 750 in a session of an hour."""

    margin: Annotated[float, Field(gt=0)] = 0.02
    """Equivalence margin: largest difference that is treated as none; .02 is 2 percentage
    points."""

    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Coverage of the intervals; tests are at 1 minus it."""

    n_resamples: Annotated[int, Field(ge=100)] = 10_000
    """Bootstrap resamples and sign flips."""

    seed: int = 0
    """Seeds bootstrap and sign flips."""
