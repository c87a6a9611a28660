"""Settings: frozen, checked, refused with the nearest name when unknown."""

import copy
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json

__all__ = ["Settings", "build_settings", "load_settings", "override", "plain"]


class _Loader(yaml.SafeLoader):
    """YAML that reads 1e-4 as a number, as YAML 1.2 does and 1.1 does not."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _read_yaml(text: str) -> Any:  # noqa: ANN401 - any YAML value
    return yaml.load(text, Loader=_Loader)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


class Settings(BaseModel):
    """Base of all settings: immutable, keyword-only, no unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )


S = TypeVar("S", bound=Settings)


def plain(settings: Settings) -> dict[str, Any]:
    """Return settings as values that JSON and YAML can hold.

    Parameters
    ----------
    settings
        The settings.

    Returns
    -------
    dict
        Nested plain values.
    """
    return settings.model_dump(mode="json")


def _names(cls: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Return the keys that the settings at `path` accept."""
    for key in path:
        if isinstance(key, int):
            continue  # a place in a list: its items were found at the list's own name
        field = cls.model_fields.get(key)
        kind = field.annotation if field else None
        for option in (kind, *getattr(kind, "__args__", ())):
            if isinstance(option, type) and issubclass(option, BaseModel):
                cls = option
                break
        else:
            return []
    return sorted(cls.model_fields)


def build_settings(cls: type[S], values: Mapping[str, Any]) -> S:
    """Build settings from plain values.

    Parameters
    ----------
    cls
        The settings class.
    values
        Nested plain values; what is missing takes its default.

    Returns
    -------
    S
        The settings.

    Raises
    ------
    ValueError
        One line a mistake: the path, what was given, what is accepted, the nearest name.
    """
    try:
        # Strict JSON: a list may be a tuple and text may be a path, but True or "7" is no count.
        return cls.model_validate_json(to_json(values), strict=True)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            path = ".".join(map(str, item["loc"]))
            if item["type"] == "extra_forbidden":
                names = _names(cls, item["loc"][:-1])
                near = difflib.get_close_matches(str(item["loc"][-1]), names, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                lines.append(f"there is no setting {path!r}; here are {names}.{hint}")
            else:
                message = item["msg"].removeprefix("Value error, ")
                lines.append(f"setting {path!r}: {message}, got {item['input']!r}.")
        raise ValueError(" ".join(lines)) from error


def override(values: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Return `values` with ``key.path=value`` assignments applied, neighbours kept.

    Parameters
    ----------
    values
        Nested plain values; not changed.
    assignments
        E.g. ``training.steps=100``; the value is read as YAML.

    Returns
    -------
    dict
        A new mapping.

    Raises
    ------
    ValueError
        If an assignment has no ``=`` or its value is not YAML.
    """
    result: dict[str, Any] = copy.deepcopy(dict(values))
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise ValueError(
                f"--set {assignment!r} is not of the form key.path=value, "
                "e.g. --set training.steps=100."
            )
        try:
            value = _read_yaml(text)
        except yaml.YAMLError as error:
            raise ValueError(
                f"--set {assignment!r}: the value is not YAML ({_one_line(error)})."
            ) from error
        *parents, last = path.split(".")
        place = result
        for key in parents:
            inner = place.get(key)
            place[key] = inner if isinstance(inner, dict) else {}
            place = place[key]
        place[last] = value
    return result


def load_settings(start: S, *, file: Path | None = None, assignments: Sequence[str] = ()) -> S:
    """Apply a YAML file and ``--set`` assignments to settings.

    Parameters
    ----------
    start
        The recipe's settings.
    file
        YAML file of settings that differ, or None.
    assignments
        ``key.path=value``, applied last.

    Returns
    -------
    S
        New settings of the same class.

    Raises
    ------
    ValueError
        If the file is not a YAML mapping, or a setting is unknown or wrong.
    """
    values = plain(start)
    if file is not None:
        try:
            read = _read_yaml(Path(file).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ValueError(f"--config {file} does not exist.") from error
        except OSError as error:
            raise ValueError(f"--config {file} cannot be read: {error.strerror}.") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"--config {file} is not YAML: {_one_line(error)}.") from error
        changes = {} if read is None else read
        if not isinstance(changes, dict):
            raise ValueError(f"--config {file} must hold 'key: value' lines, got {read!r}.")
        values = _merged(values, changes)
    return build_settings(type(start), override(values, assignments))


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(old, value)
        else:
            merged[key] = value
    return merged
