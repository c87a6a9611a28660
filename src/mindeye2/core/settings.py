"""Settings: frozen, validated, unknown names refused with the nearest one."""

import copy
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json

__all__ = [
    "Settings",
    "build_settings",
    "load_settings",
    "merged",
    "nested_class",
    "plain",
]


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
    """Base of all settings: frozen, keyword-only, without unknown keys."""

    # Docstrings of fields are read where they are listed: to parse all classes at each start of a
    # command, as pydantic does for `use_attribute_docstrings`, would take .3 s.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


S = TypeVar("S", bound=Settings)


def plain(settings: Settings) -> dict[str, Any]:
    """Return settings as nested plain values for JSON and YAML."""
    return settings.model_dump(mode="json")


def nested_class(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - any annotation
    """Return the class of nested settings that a field holds, alone, optionally or in a list."""
    for option in (annotation, *get_args(annotation)):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def _class_at(cls: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel] | None:
    """Return the class of the settings at `path`."""
    inner: type[BaseModel] | None = cls
    for key in path:
        if isinstance(key, int):
            continue  # an index: the class was found at the name of its list
        field = inner.model_fields.get(key) if inner else None
        inner = nested_class(field.annotation) if field else None
    return inner


def dotted_names(cls: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted names of all settings, groups before their members."""
    names = []
    for name, field in cls.model_fields.items():
        names.append(f"{prefix}{name}")
        inner = nested_class(field.annotation)
        if inner and get_origin(field.annotation) not in {tuple, list}:
            names += dotted_names(inner, f"{prefix}{name}.")
    return names


def _suggest(cls: type[BaseModel], path: Sequence[str | int], value: object) -> str:
    """Return a setting that the unknown one at `path` may mean, searched at all levels, or ""."""
    parent, names = path[:-1], dotted_names(cls)
    keys = [str(key) for key in path]
    # An assignment `splits.test=.4` arrives as {"splits": {"test": .4}}.
    while isinstance(value, Mapping) and len(value) == 1:
        ((key, value),) = value.items()
        keys.append(str(key))
    for length in range(len(keys), len(parent), -1):
        given = ".".join(keys[:length])
        found = [n for n in names if n.endswith(f".{given}")]
        if found:
            return min(found, key=len)
    here = _class_at(cls, parent)
    near = difflib.get_close_matches(str(path[-1]), list(here.model_fields) if here else [], n=1)
    if near:
        return ".".join([*map(str, parent), near[0]])
    by_end = {n.rpartition(".")[2]: n for n in reversed(names)}
    near = difflib.get_close_matches(str(path[-1]), by_end, n=1)
    return by_end[near[0]] if near else ""


def _in_words(kind: str, path: str, value: object) -> str:
    """Say what is accepted where pydantic speaks of objects and arrays, with an example."""
    if kind == "tuple_type":
        return f"Input should be a list, e.g. --set '{path}=[{value}]'"
    if kind in {"dict_type", "mapping_type"}:
        return f"Input should be a mapping, e.g. --set '{path}={{name: value}}'"
    if kind == "model_type":
        return (
            f"Input should be its settings, e.g. --set '{path}={{...}}' or --set {path}.NAME=..."
        )
    return ""


def build_settings(cls: type[S], values: Mapping[str, Any]) -> S:
    """Build settings from nested plain values; missing keys take their defaults.

    Raises ``ValueError`` with one sentence per mistake: path, given value, accepted values and
    nearest name.
    """
    try:
        # Strict JSON: a list may be a tuple and text may be a path, but True or "7" is no count.
        return cls.model_validate_json(to_json(values), strict=True)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            path = ".".join(map(str, item["loc"]))
            if item["type"] == "extra_forbidden":
                here = _class_at(cls, item["loc"][:-1])
                names = sorted(here.model_fields) if here else []
                near = _suggest(cls, item["loc"], item["input"])
                hint = f" Did you mean {near!r}?" if near else ""
                lines.append(f"there is no setting {path!r}; here are {names}.{hint}")
            elif item["type"] == "value_error" and isinstance(item["input"], Mapping):
                # Of several settings together: the message names them.
                within = f"setting {path!r}: " if path else ""
                lines.append(f"{within}{item['msg'].removeprefix('Value error, ')}.")
            else:
                message = _in_words(item["type"], path, item["input"])
                message = message or item["msg"].removeprefix("Value error, ")
                lines.append(f"setting {path!r}: {message}, got {item['input']!r}.")
        raise ValueError(" ".join(lines)) from error


def override(values: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Return a copy of `values` with ``key.path=value`` assignments applied; values are YAML.

    Raises ``ValueError`` if an assignment has no ``=`` or its value is not YAML.
    """
    result: dict[str, Any] = copy.deepcopy(dict(values))
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise ValueError(
                f"--set {assignment!r} is not of the form key.path=value, "
                "e.g. --set optimizer.steps=100."
            )
        try:
            value = _read_yaml(text)
        except yaml.YAMLError as error:
            raise ValueError(
                f"--set {assignment!r}: the value is not YAML ({_one_line(error)})."
            ) from error
        *parents, last = path.split(".")
        node = result
        for key in parents:
            inner = node.get(key)
            node[key] = inner if isinstance(inner, dict) else {}
            node = node[key]
        node[last] = value
    return result


def load_settings(start: S, *, file: Path | None = None, assignments: Sequence[str] = ()) -> S:
    """Apply a YAML file of differing settings, then ``--set`` assignments, to `start`.

    Raises ``ValueError`` if the file is not a YAML mapping, or a setting is unknown or invalid.
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
        values = merged(values, changes)
    return build_settings(type(start), override(values, assignments))


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings with some of them changed."""
    result = dict(values)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result
