"""The command that analyses finished reconstructions."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mindeye2.choices import ANALYSES
from mindeye2.cli.commands import app
from mindeye2.cli.options import (
    Assign,
    Config,
    Data,
    Debug,
    Device,
    Init,
    Out,
    Resume,
    Subject,
    completing,
)
from mindeye2.cli.outcome import print_summary, report_outcome
from mindeye2.cli.subjects import load_with_subjects
from mindeye2.core.errors import check_choice

__all__ = ["analyse"]


@app.command()
@report_outcome
def analyse(
    *,
    kind: Annotated[
        str | None,
        typer.Argument(help=f"{', '.join(ANALYSES)}.", autocompletion=completing(ANALYSES)),
    ] = None,
    source: Annotated[
        Path,
        typer.Option(
            "--source", help="Folder that reconstruct finished; a data set for learning-curve."
        ),
    ],
    out: Out,
    data: Data = None,
    init: Init = None,
    subject: Subject = None,
    config: Config = None,
    assign: Assign = None,
    resume: Resume = False,
    device: Device = "auto",
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
) -> None:
    """Analyse a reconstruction: regions, encoding, geometry, recovery, amount of data."""
    if kind is None:
        raise ValueError(f"KIND is missing: give the analysis, one of {list(ANALYSES)}.")
    check_choice("KIND", kind, ANALYSES)

    from mindeye2.analysis_steps import STEPS
    from mindeye2.core.settings import load_settings
    from mindeye2.stages.analyse import ANALYSES as KNOWN
    from mindeye2.stages.analyse import analyse as run

    load = partial(load_settings, file=config, assignments=assign or [])
    start = KNOWN[kind].settings()
    settings = load_with_subjects(start, load, data=source, chosen=subject)
    manifest = run(
        settings,
        kind=kind,
        source=source,
        out=out,
        steps=STEPS,
        data=data,
        init=init,
        resume=resume,
        device=device,
    )
    print_summary(manifest)
