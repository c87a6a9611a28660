"""The commands that make and check a study; Snakemake runs it."""

from pathlib import Path
from typing import Annotated

import typer

from mindeye2.choices import STUDIES
from mindeye2.cli.commands import app
from mindeye2.cli.options import Debug, completing
from mindeye2.cli.outcome import report_outcome

__all__ = ["check", "init"]

study = typer.Typer(
    help="Make or check a study: a grid of recipes, subjects, amounts of data and seeds.",
    no_args_is_help=True,
)
app.add_typer(study, name="study")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the study.")]


@study.command()
@report_outcome
def init(
    *,
    folder: Folder,
    config: Annotated[
        str,
        typer.Option(
            "--config", help=f"{', '.join(STUDIES)}.", autocompletion=completing(STUDIES)
        ),
    ] = "laptop",
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
) -> None:
    """Write a commented config.yaml, the Snakefile and profiles into a new folder."""
    from mindeye2.study import init_study

    print(init_study(folder, config=config))
    print(f"Next: edit it, then cd {folder} && snakemake --profile profiles/local --dry-run")


@study.command()
@report_outcome
def check(
    *,
    folder: Folder,
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
) -> None:
    """Check settings, sources, subjects, sessions and trials of a study before it runs."""
    from mindeye2.study import check_study, load_study

    print(*check_study(load_study(folder), folder), sep="\n")
