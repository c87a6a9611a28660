"""Names of subjects: ``sub-01`` of BIDS and ``subj01`` of NSD name the same number."""

import re
from collections.abc import Collection

from mindeye2.core.errors import check_choice

__all__ = ["find_subject"]


def find_subject(name: str, known: Collection[str], *, what: str = "subject") -> str:
    """Return the subject that is meant by a name: itself, or the only one of its number.

    Raises ``ValueError``, in which `what` names the argument, if there is none.
    """
    same = [k for k in known if _number(k) is not None and _number(k) == _number(name)]
    return same[0] if name not in known and len(same) == 1 else check_choice(what, name, known)


def _number(name: str) -> int | None:
    found = re.fullmatch(r"(?:s|sub|subj|subject)?[-_ ]?0*(\d+)", name, flags=re.IGNORECASE)
    return int(found[1]) if found else None
