"""Names and options that users rely on: a change needs a line in the changelog."""

import typer.main

import mindeye2
from mindeye2.cli import app

NAMES = {"Decoded", "Decoder", "Responses", "Retrieved", "__version__", "load"}

COMMON = {"--out", "--config", "--set", "--resume", "--debug"}

OPTIONS = {
    "demo": COMMON | {"--device"},
    "recipes": set(),
    "settings": {"stage", "kind", "--recipe", "--yaml", "--debug"},
    "plan": {
        "--recipe",
        "--gpu",
        "--gpus",
        "--source",
        "--voxels",
        "--init",
        "--utilisation",
        "--json",
        "--config",
        "--set",
        "--debug",
    },
    "doctor": {"path", "--quick", "--json", "--debug"},
    "prepare": COMMON | {"kind", "--source", "--subject", "--device"},
    "train": COMMON | {"--recipe", "--source", "--init", "--subject", "--device"},
    "reconstruct": COMMON | {"--source", "--init", "--subject", "--device"},
    "evaluate": COMMON | {"--source", "--decoded", "--decoding", "--data", "--device"},
    "report": COMMON | {"--source", "--data"},
    "compare": COMMON | {"runs"},
    "analyse": COMMON | {"kind", "--source", "--data", "--init", "--subject", "--device"},
    "import": COMMON | {"file", "--data", "--released", "--yes"},
    "export": {"run", "--out", "--push", "--debug"},
    "study init": {"folder", "--config", "--debug"},
    "study check": {"folder", "--debug"},
    "app": {"run", "--source", "--port", "--config", "--set", "--device", "--debug"},
    "serve": {"run", "--host", "--port", "--token", "--config", "--set", "--device", "--debug"},
}
"""Every verb with its options; an argument stands under its name."""


def commands():
    """Return every command; those of a group after its name."""
    found = {}
    for verb, command in typer.main.get_command(app).commands.items():
        parts = getattr(command, "commands", None)
        found |= {f"{verb} {p}": c for p, c in parts.items()} if parts else {verb: command}
    return found


def test_public_names_are_frozen():
    assert set(mindeye2.__all__) == NAMES
    assert all(hasattr(mindeye2, name) for name in NAMES)
    assert set(dir(mindeye2)) == NAMES  # what tab completion offers


def test_command_line_has_not_grown():
    found = {
        verb: {option for parameter in command.params for option in parameter.opts}
        for verb, command in commands().items()
    }
    assert found == OPTIONS


def test_every_verb_and_option_has_a_help_text():
    for verb, command in commands().items():
        assert (command.help or "").endswith("."), verb
        assert [p.name for p in command.params if not p.help] == [], verb
