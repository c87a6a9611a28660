"""Options that several commands share."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from mindeye2.choices import KINDS, RECIPES

__all__ = [
    "KIND_NAMES",
    "Assign",
    "Config",
    "Data",
    "Debug",
    "Device",
    "Init",
    "Kind",
    "Out",
    "Recipe",
    "Resume",
    "Source",
    "Subject",
    "Version",
    "completing",
]

RECIPE_NAMES = ", ".join(RECIPES)
KIND_NAMES = ", ".join(KINDS)


def completing(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Return the shell completion of a fixed list of names."""

    def complete(incomplete: str) -> list[str]:  # typer passes what was typed by this name
        return [name for name in names if name.startswith(incomplete)]

    return complete


Source = Annotated[Path | None, typer.Option("--source", help="Folder or file to read.")]
Init = Annotated[Path | None, typer.Option("--init", help="Run folder to start from.")]
Data = Annotated[
    Path | None, typer.Option("--data", help="Prepared data set; by default the recorded one.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder to fill.")]
Config = Annotated[Path | None, typer.Option("--config", help="YAML file of settings.")]
Assign = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="A setting; may be repeated."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run in --out.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Subject = Annotated[
    list[str] | None,
    typer.Option("--subject", help="A subject, e.g. subj01 or sub-01; repeat for more."),
]
Kind = Annotated[
    str | None,
    typer.Argument(help=f"Kind of source: {KIND_NAMES}.", autocompletion=completing(KINDS)),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        help=f"{RECIPE_NAMES}; 'mindeye2 recipes' describes them.",
        autocompletion=completing(RECIPES),
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def _print_version(requested: bool) -> bool:  # noqa: FBT001 - as typer calls it
    if requested:
        from mindeye2.core import __version__

        print(f"mindeye2 {__version__}")
        raise typer.Exit
    return requested


Version = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
]
