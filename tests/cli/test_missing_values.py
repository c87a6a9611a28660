import pytest
import typer.main
from typer.testing import CliRunner

from mindeye2.cli import app
from mindeye2.cli.missing_values import EXAMPLES

REQUIRED = {
    verb: [p.opts[0] for p in command.params if p.required]
    for verb, command in typer.main.get_command(app).commands.items()
}


def test_each_command_that_needs_something_has_an_example_with_all_of_it():
    assert {verb for verb, needed in REQUIRED.items() if needed} == {*EXAMPLES}
    for verb, example in EXAMPLES.items():
        program, named, *given = example.split()
        assert (program, named) == ("mindeye2", verb)
        options = [name for name in REQUIRED[verb] if name.startswith("--")]
        assert [name for name in options if name not in given] == [], verb
        arguments = len(REQUIRED[verb]) - len(options)
        assert len([word for word in given if not word.startswith("--")]) >= arguments


@pytest.mark.parametrize("verb", EXAMPLES)
def test_what_is_missing_is_said_with_what_it_takes_and_an_example(verb):
    done = CliRunner().invoke(app, [verb])
    assert done.exit_code == 2
    first = REQUIRED[verb][0]
    name = first if first.startswith("--") else first.upper()
    assert done.output.startswith(f"mindeye2: {name} is missing: ")
    assert done.output.endswith(f". E.g. {EXAMPLES[verb]}\n")
    assert len(done.output.splitlines()) == 1


def test_other_errors_stay_the_parsers():
    done = CliRunner().invoke(app, ["plan", "--recipe", "standard", "--gpus", "0"])
    assert done.exit_code == 2
    assert "is missing" not in done.output
    assert "--gpus" in done.output
