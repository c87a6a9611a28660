"""Settings as text: dotted name, accepted values, default, meaning, from their classes."""

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mindeye2.core.settings import Settings, nested_class, plain

__all__ = ["SettingRow", "commented_yaml", "list_settings", "write_value"]

_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    type(None): "null",
}
_BOUNDS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "multiple_of": "a multiple of {}",
    "min_length": "at least {} long",
}
_WIDTH = 100


@dataclass(frozen=True, kw_only=True)
class SettingRow:
    """One setting, or a group of nested settings."""

    name: str
    """Dotted name, as ``--set`` takes it."""

    kind: str
    """Accepted values in words; empty for a group that is always there."""

    default: Any
    """Plain value; of a group, all of its values, or None where it is off."""

    meaning: str
    """The docstring below the field, on one line."""

    is_group: bool = False
    """Whether nested settings follow."""


def list_settings(start: Settings) -> list[SettingRow]:
    """List every setting with its value in `start` as the default, groups before their members."""
    return list(_rows(type(start), plain(start), ""))


def _field_docstrings(cls: type[BaseModel]) -> dict[str, str]:
    """Return the docstring below each field of a class and of those that it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base is BaseModel or not issubclass(base, BaseModel):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for field, below in pairwise(definition.body):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = inspect.cleandoc(text)
    return found


def _rows(cls: type[BaseModel], values: Mapping[str, Any], prefix: str) -> Iterator[SettingRow]:
    meanings = _field_docstrings(cls)
    for name, field in cls.model_fields.items():
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1:
            continue  # a tag, which the command line gives by itself
        path, value = f"{prefix}{name}", values[name]
        meaning = " ".join(meanings.get(name, "").split())
        inner = nested_class(field.annotation)
        if inner is None or isinstance(value, list):
            kind = _words(field.annotation, field.metadata)
            yield SettingRow(name=path, kind=kind, default=value, meaning=meaning)
            continue
        optional = type(None) in get_args(field.annotation)
        kind = "null, or the settings below" if optional else ""
        yield SettingRow(name=path, kind=kind, default=value, meaning=meaning, is_group=True)
        if value is None:
            value = inner().model_dump(mode="json")
        yield from _rows(inner, value, f"{path}.")


def _words(annotation: Any, metadata: Sequence[object] = ()) -> str:  # noqa: ANN401
    """Describe the values that an annotation accepts."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(inner[0], inner[1:])
    bounds = [
        text.format(getattr(limit, key))
        for item in metadata
        for limit in (item.metadata if isinstance(item, FieldInfo) else [item])
        for key, text in _BOUNDS.items()
        if getattr(limit, key, None) is not None
    ]
    if origin is Literal:
        words = _either([str(value) for value in inner])
    elif origin in {Union, types.UnionType}:
        # Null first: the bounds of the other options follow them.
        words = _either([_words(o) for o in sorted(inner, key=lambda o: o is not type(None))])
    elif origin in {tuple, list}:
        items = list(dict.fromkeys(i for i in inner if i is not Ellipsis))
        words = f"list of {_plural(_words(items[0]))}"
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        words = f"mapping of {_words(inner[0])} to {_words(inner[1])}"
    else:
        words = _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))
    return ", ".join([words, *bounds])


def _either(options: Sequence[str]) -> str:
    *first, last = options
    return f"{', '.join(first)} or {last}" if first else last


def _plural(words: str) -> str:
    head, comma, rest = words.partition(",")
    singular = {"whole number", "number", "path"}
    return f"{head}s{comma}{rest}" if head in singular else words


def write_value(value: Any) -> str:  # noqa: ANN401 - any plain value
    """Write a plain value as YAML on one line, as ``--set`` takes it."""
    # In a list, because a lone value would be followed by "...".
    text: str = yaml.safe_dump(
        [value], default_flow_style=True, width=2**20, allow_unicode=True, sort_keys=False
    )
    return text.strip()[1:-1]


def commented_yaml(start: Settings, *, title: str) -> str:
    """Write `start` as a YAML file for ``--config``, each setting below its meaning and type."""
    lines = [f"# {title}", "# Remove what you do not change."]
    skipped = ""
    for row in list_settings(start):
        if skipped and row.name.startswith(skipped):
            continue  # members of a group that is off
        *parents, key = row.name.split(".")
        indent = "  " * len(parents)
        kind = f" ({row.kind})" if row.kind else ""
        if not parents:
            lines.append("")
        lines += [f"{indent}# {part}" for part in _wrap(f"{row.meaning}{kind}", len(indent) + 2)]
        if row.is_group and row.default is not None:
            lines.append(f"{indent}{key}:")
        else:
            lines.append(f"{indent}{key}: {write_value(row.default)}")
        skipped = f"{row.name}." if row.is_group and row.default is None else ""
    return "\n".join(lines) + "\n"


def _wrap(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, _WIDTH - indent, break_long_words=False, break_on_hyphens=False)
