"""Default subjects of a command: those of the data set, where the recipe's are not in it."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mindeye2.core.errors import check_choice
from mindeye2.core.settings import Settings

__all__ = ["load_with_subjects"]

S = TypeVar("S", bound=Settings)

_UNSET = "(unset)"


def load_with_subjects(start: S, load: Callable[[S], S], *, data: Path) -> S:
    """Load settings; subjects that the user did not choose are those of the data set.

    Parameters
    ----------
    start
        The recipe.
    load
        Applies the user's settings to it.
    data
        Prepared data set.

    Returns
    -------
    Settings
        With subjects that the data set has.

    Raises
    ------
    ValueError
        If a chosen subject is not in the data set, or one must be chosen among several.
    """
    settings = load(start)
    names = [n for n in ("subject", "subjects") if getattr(settings, n, None) is not None]
    if not names:
        return settings
    from mindeye2.data.prepared import open_prepared

    name, known = names[0], open_prepared(data).subjects
    wanted = getattr(settings, name)
    missing = [s for s in ([wanted] if name == "subject" else wanted) if s not in known]
    if not missing:
        return settings
    unset = _UNSET if name == "subject" else (_UNSET,)
    chosen = getattr(load(start.model_copy(update={name: unset})), name) != unset
    if chosen:
        check_choice(f"the setting {name}", missing[0], known)
    if name == "subjects":
        return settings.model_copy(update={"subjects": tuple(known)})
    if len(known) != 1:
        raise ValueError(
            f"{data} has the subjects {known}: choose one, e.g. --set subject={known[0]}."
            if known
            else f"{data} has no subjects, only images."
        )
    return settings.model_copy(update={"subject": known[0]})
