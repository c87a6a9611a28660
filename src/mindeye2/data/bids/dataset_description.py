"""The programs that made a folder of BIDS derivatives, from its ``dataset_description.json``."""

import json
from pathlib import Path

from mindeye2.core.errors import ArtifactError
from mindeye2.data.bids.nifti import find_above

__all__ = ["recorded_version"]

_NAME = "dataset_description.json"


def recorded_version(program: str, *, start: Path, stop: Path) -> str | None:
    """Return version and address of a program in ``GeneratedBy``; None where neither is recorded.

    The nearest description is read, from the folder `start` up to `stop`.
    """
    path = find_above((_NAME,), start=start, stop=stop)
    if path is None:
        return None
    try:
        made_by = json.loads(path.read_text(encoding="utf-8")).get("GeneratedBy") or []
        named = [e for e in made_by if program.lower() in str(e.get("Name", "")).lower()]
        parts = [str(e[key]) for e in named[:1] for key in ("Version", "CodeURL") if e.get(key)]
    except (ValueError, AttributeError, TypeError) as error:
        raise ArtifactError(
            f"{path} is no description of a BIDS data set ({error!r}). Copy it again, or remove "
            "it: only versions are read from it."
        ) from error
    return ", ".join(parts) or None
