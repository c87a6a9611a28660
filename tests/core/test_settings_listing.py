from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import Field

from mindeye2.core.settings import Settings, load_settings
from mindeye2.core.settings_listing import commented_yaml, list_settings, write_value


class Backbone(Settings):
    """Inner settings."""

    width: Annotated[int, Field(ge=1)] = 384
    """Width,
    in units."""


class Run(Settings):
    """Outer settings."""

    kind: Literal["run"] = "run"
    """The tag."""

    fit: Literal["crop", "pad", "stretch"] = "crop"
    """How."""

    n: Annotated[int, Field(ge=16)] | None = None
    """Number."""

    sessions: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2)
    """Sessions."""

    names: Mapping[str, Path] = {"a": Path("b c")}
    """Names."""

    note: str = "yes: # no"
    """Text that YAML might misread."""

    backbone: Backbone = Backbone()
    """The backbone."""

    other: Backbone | None = None
    """Another."""


def test_names_are_dotted_and_values_and_bounds_are_words():
    rows = {row.name: row for row in list_settings(Run())}
    assert {name: row.kind for name, row in rows.items()} == {
        "fit": "crop, pad or stretch",
        "n": "null or whole number, at least 16",
        "sessions": "list of whole numbers, at least 1",
        "names": "mapping of text to path",
        "note": "text",
        "backbone": "",
        "backbone.width": "whole number, at least 1",
        "other": "null, or the settings below",
        "other.width": "whole number, at least 1",
    }
    assert rows["backbone.width"].meaning == "Width, in units."


def test_the_default_is_that_of_the_given_settings():
    rows = {row.name: row for row in list_settings(Run(other=Backbone(width=2)))}
    assert rows["other.width"].default == 2
    assert rows["sessions"].default == [1, 2]


@pytest.mark.parametrize(
    "value", [1e-7, "1e-4", "a, b", None, True, [1, "x: y"], {"a": ["b"]}, ""]
)
def test_a_value_is_written_as_yaml_on_one_line(value):
    text = write_value(value)
    assert "\n" not in text
    assert yaml.safe_load(text) == value


@pytest.mark.parametrize("run", [Run(), Run(other=Backbone(width=2), n=20)])
def test_the_yaml_file_has_comments_and_loads_again(run, tmp_path):
    text = commented_yaml(run, title="Settings of a run.")
    (tmp_path / "a.yaml").write_text(text)
    assert load_settings(Run(n=30), file=tmp_path / "a.yaml") == run
    assert text.startswith("# Settings of a run.\n")
    assert "\n  # Width, in units. (whole number, at least 1)\n  width: 384\n" in text
