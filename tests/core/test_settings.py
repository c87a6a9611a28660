import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import field_validator

from mindeye2.core.settings import Settings, build_settings, load_settings, override, plain


class Backbone(Settings):
    """Inner settings."""

    width: int = 384
    """Width."""
    dropout: float = 0.15
    """Fraction of units set to zero."""


class Run(Settings):
    """Outer settings."""

    steps: int = 100
    """Steps."""
    backbone: Backbone = Backbone()
    """The backbone."""
    blocks: tuple[Backbone, ...] = ()
    """More than one backbone."""
    start: Path | None = None
    """Folder to start from."""

    @field_validator("steps")
    @classmethod
    def _check_steps(cls, steps):
        if steps < 1:
            raise ValueError("must be at least 1")
        return steps


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Run().steps = 3


def test_plain_values_make_the_same_settings_again():
    run = Run(blocks=(Backbone(width=2),), start=Path("runs/a"), backbone=Backbone(dropout=1e-7))
    assert build_settings(Run, plain(run)) == run


def test_infinity_survives_plain_values():
    run = Run(backbone=Backbone(dropout=math.inf))
    assert build_settings(Run, plain(run)) == run


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, r"no setting 'stepz'; here are \['backbone', .*'steps'\].*mean 'steps'\?"),
        (
            {"backbone": {"widht": 3}},
            r"'backbone\.widht'; here are .*Did you mean 'backbone\.width'\?",
        ),
        (
            {"blocks": [{"widht": 3}]},
            r"'blocks\.0\.widht'; here are .*Did you mean 'blocks\.0\.width'\?",
        ),
        ({"width": 3}, r"Did you mean 'backbone\.width'\?"),
        ({"bakbone": {"width": 3}}, r"Did you mean 'backbone'\?"),
        ({"dropuot": 3}, r"Did you mean 'backbone\.dropout'\?"),
        ({"qqqq": 3}, r"'qqqq'; here are \[[^?]*\]\.$"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_name(values, message):
    with pytest.raises(ValueError, match=message):
        build_settings(Run, values)


def test_an_unknown_setting_is_searched_at_all_levels():
    class Study(Settings):
        """Two levels above."""

        run: Run = Run()
        """Run."""

    with pytest.raises(ValueError, match=r"Did you mean 'run\.backbone\.width'\?"):
        load_settings(Study(), assignments=["backbone.width=2"])


def test_a_message_of_our_own_has_no_words_of_the_library():
    with pytest.raises(ValueError, match=r"^setting 'steps': must be at least 1, got 0\.$"):
        build_settings(Run, {"steps": 0})


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("blocks=3", r"should be a list, e\.g\. --set 'blocks=\[3\]', got 3"),
        ("names=[a]", r"should be a mapping, e\.g\. --set 'names=\{name: value\}', got \['a'\]"),
        (
            "run.backbone=3",
            r"--set 'run\.backbone=\{\.\.\.\}' or --set run\.backbone\.NAME=\.\.\.",
        ),
    ],
)
def test_a_value_of_the_wrong_form_is_answered_with_an_example(assignment, message):
    class Study(Settings):
        """Collections."""

        blocks: tuple[int, ...] = ()
        """List."""

        names: Mapping[str, Path] = {}
        """Mapping."""

        run: Run = Run()
        """Run."""

    with pytest.raises(ValueError, match=message):
        load_settings(Study(), assignments=[assignment])


def test_every_mistake_is_listed_at_once():
    with pytest.raises(ValueError, match=r"setting 'steps': .*integer.*'many'.*'backbone\.widht'"):
        build_settings(Run, {"steps": "many", "backbone": {"widht": 3}})


@pytest.mark.parametrize("value", [True, 1.5, "7"])
def test_nothing_is_converted_to_a_count_silently(value):
    with pytest.raises(ValueError, match=r"setting 'steps': .*valid integer"):
        build_settings(Run, {"steps": value})


def test_a_whole_number_is_accepted_where_a_real_one_is_meant():
    assert build_settings(Run, {"backbone": {"dropout": 0}}).backbone.dropout == 0.0


def test_an_override_keeps_its_neighbours_and_its_argument():
    values = {"backbone": {"width": 1, "dropout": 0.5}}
    changed = override(values, ["backbone.width=2", "steps=7"])
    assert changed == {"backbone": {"width": 2, "dropout": 0.5}, "steps": 7}
    assert values == {"backbone": {"width": 1, "dropout": 0.5}}


def test_a_learning_rate_may_be_written_without_a_point():
    """YAML 1.1 alone reads 1e-4 as text."""
    assert override({}, ["rate=1e-4"]) == {"rate": 1e-4}


@pytest.mark.parametrize("assignment", ["steps", "=3"])
def test_an_override_without_name_or_value_shows_the_form(assignment):
    with pytest.raises(ValueError, match=r"--set '.*' is not of the form key\.path=value, e\.g\."):
        override({}, [assignment])


def test_an_override_that_is_not_yaml_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^--set 'steps=\[1': the value is not YAML .*\.$"):
        override({}, ["steps=[1"])


def test_the_command_line_wins_over_the_file_and_the_file_over_the_recipe(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("steps: 5\nbackbone: {width: 7, dropout: 1e-3}\n")
    recipe = Run(steps=4, backbone=Backbone(width=4, dropout=0.4), start=Path("runs/a"))
    run = load_settings(recipe, file=file, assignments=["backbone.width=9"])
    assert run == Run(steps=5, backbone=Backbone(width=9, dropout=1e-3), start=Path("runs/a"))


def test_a_file_keeps_the_neighbours_of_what_it_sets(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("backbone: {width: 7}\n")
    recipe = Run(backbone=Backbone(width=4, dropout=0.4))
    assert load_settings(recipe, file=file).backbone == Backbone(width=7, dropout=0.4)


def test_an_empty_file_changes_nothing(tmp_path):
    (tmp_path / "a.yaml").write_text("# nothing yet\n")
    assert load_settings(Run(), file=tmp_path / "a.yaml") == Run()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"--config .*a\.yaml does not exist"),
        (b"a: [1", r"--config .*a\.yaml is not YAML"),
        (b"- 1\n", r"--config .*must hold 'key: value' lines, got \[1\]"),
        (b"false\n", r"--config .*must hold 'key: value' lines, got False"),
        (b"\xff\xfe\x00", r"--config .*a\.yaml is not YAML"),
        (b"step: 3\n", r"no setting 'step'.*Did you mean 'steps'\?"),
    ],
    ids=["missing", "broken", "list", "scalar", "binary", "unknown"],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_settings(Run(), file=tmp_path / "a.yaml")


def test_a_folder_as_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"--config .* cannot be read"):
        load_settings(Run(), file=tmp_path)
