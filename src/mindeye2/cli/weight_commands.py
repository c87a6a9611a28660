"""Commands that exchange weights with the released code."""

from pathlib import Path
from typing import Annotated

import typer

from mindeye2.cli.commands import app
from mindeye2.cli.options import Assign, Config, Debug, Out, Resume
from mindeye2.cli.outcome import report_outcome

__all__ = ["export", "import_"]


@app.command("import")
@report_outcome
def import_(
    *,
    out: Out,
    file: Annotated[
        Path | None, typer.Argument(help="Published checkpoint, or folder of published outputs.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Prepared data set of published outputs.")
    ] = None,
    released: Annotated[
        str | None,
        typer.Option("--released", help="Download this published file first."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm the download.")] = False,
    config: Config = None,
    assign: Assign = None,
    resume: Resume = False,
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
) -> None:
    """Import a published checkpoint as safetensors, or published outputs to be evaluated."""
    from mindeye2.core.settings import load_settings
    from mindeye2.released.evals import import_evals, is_evals
    from mindeye2.released.importing import ImportSettings, get_published, import_checkpoint

    settings = load_settings(ImportSettings(), file=config, assignments=assign or [])
    if (file is None) == (released is None):
        raise ValueError("give either a FILE to import or --released NAME.")
    if released is not None:
        print(get_published(released, out=out, agreed=yes, settings=settings, resume=resume))
    elif file is not None and is_evals(file):
        if data is None:
            raise ValueError(f"{file} holds outputs: add --data with their prepared data set.")
        print(import_evals(file, data=data, out=out, resume=resume))
    elif file is not None:
        print(import_checkpoint(file, out=out, settings=settings, resume=resume))


@app.command()
@report_outcome
def export(
    *,
    run: Annotated[
        Path, typer.Argument(help="Folder that 'mindeye2 train' or 'mindeye2 import' finished.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="A .safetensors file for the released code; or a folder for the hub, with a "
            "model card.",
        ),
    ],
    push: Annotated[
        str | None,
        typer.Option("--push", metavar="OWNER/NAME", help="Upload the folder to the hub."),
    ] = None,
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
) -> None:
    """Export a brain decoder for the released MindEye2 code, or as a folder for the hub."""
    from mindeye2.released.exporting import export_weights
    from mindeye2.released.hub import export_folder, upload

    if out.suffix and push is None:
        print(export_weights(run, out=out))
    else:
        print(export_folder(run, out=out))
    if push is not None:
        print(upload(out, repository=push))
