"""Subjects of a command: chosen by --subject or a setting, or those of the data set."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from mindeye2.core.settings import Settings

__all__ = ["load_with_subjects", "subjects_of_source"]

S = TypeVar("S", bound=Settings)

_UNSET = "(unset)"


def load_with_subjects(
    start: S, load: Callable[[S], S], *, data: Path, chosen: Sequence[str] | None
) -> S:
    """Load settings; subjects that the user did not choose are those of the data set.

    Parameters
    ----------
    start
        The recipe.
    load
        Applies the user's settings to it.
    data
        Prepared data set.
    chosen
        Values of ``--subject``, which come before settings.

    Returns
    -------
    Settings
        With subjects that the data set has, under its names.

    Raises
    ------
    ValueError
        If a chosen subject is not in the data set, one must be chosen among several, or the
        settings name no subjects.
    """
    settings = load(start)
    names = [n for n in ("subject", "subjects") if n in type(start).model_fields]
    if chosen and not names:
        raise ValueError(
            f"--subject {chosen[0]} has no effect: there is no choice of subjects here. "
            "Leave it out."
        )
    if not names or (getattr(settings, names[0]) is None and not chosen):
        return settings
    from mindeye2.data.prepared import open_prepared
    from mindeye2.data.subject_names import find_subject

    name, known = names[0], open_prepared(data).subjects
    if chosen and name == "subject" and len(chosen) > 1:
        raise ValueError(
            f"--subject may be given once here, got {list(chosen)}. Run the command for each."
        )
    unset = _UNSET if name == "subject" else (_UNSET,)
    if not chosen:
        set_by_user = getattr(load(start.model_copy(update={name: unset})), name) != unset
        value = getattr(settings, name)
        default = [value] if name == "subject" else list(value)
        chosen = default if set_by_user or all(s in known for s in default) else None
        what = f"the setting {name}"
    else:
        what = "--subject"
    if chosen is None and name == "subject" and len(known) != 1:
        raise ValueError(
            f"{data} has the subjects {known}: choose one, e.g. --subject {known[0]}."
            if known
            else f"{data} has no subjects, only images."
        )
    found = known if chosen is None else [find_subject(s, known, what=what) for s in chosen]
    return settings.model_copy(update={name: found[0] if name == "subject" else tuple(found)})


def subjects_of_source(kind: str, start: Settings, chosen: Sequence[str] | None) -> list[str]:
    """Return ``--subject`` of prepare as an assignment, for sources of several subjects."""
    if not chosen:
        return []
    if not hasattr(getattr(start, kind, start), "subjects"):
        raise ValueError(
            f"--subject {chosen[0]} has no effect: 'prepare {kind}' takes the subjects that its "
            "source holds. Leave it out, and choose one in 'mindeye2 train --subject'."
        )
    return [f"{kind}.subjects=[{','.join(chosen)}]"]
