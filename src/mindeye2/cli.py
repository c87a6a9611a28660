"""Command line: one command per stage, with the same options."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mindeye2.core.errors import ArtifactError, InterruptedRun, MissingExtraError, check_choice

__all__ = ["app", "main"]

app = typer.Typer(
    name="mindeye2",
    help="Decode fMRI responses to images, captions and retrieval.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# Written out, because importing the recipes imports PyTorch; a test compares them.
KINDS = "simulated, scenes, table, glmsingle, bids, nsd, released, kriegeskorte92"
RECIPES = (
    "released, standard, demo, adapt, scratch, ridge, kriegeskorte92 (brain decoders); "
    "autoencoder, unclip, decoder_tuning, unclip_sdxl (image decoders)"
)

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
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def _stage(function: Callable[..., None]) -> Callable[..., None]:
    """Report user errors as one line on stderr, with exit code 2."""

    @functools.wraps(function)
    def run(**options: Any) -> None:  # noqa: ANN401 - whatever typer parsed
        try:
            function(**options)
        except InterruptedRun as stop:
            print(f"mindeye2: {stop}", file=sys.stderr)
            raise typer.Exit(130) from stop
        except (
            ValueError,
            ArtifactError,
            MissingExtraError,
            FloatingPointError,
            OSError,
        ) as error:
            if options.get("debug"):
                raise
            # Messages of other libraries may have several lines.
            print("mindeye2:", *str(error).split(), file=sys.stderr)
            raise typer.Exit(2) from error

    return run


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


@app.callback()
def _options(*, version: Version = False) -> None:
    """Decode fMRI responses to images, captions and retrieval."""


@app.command()
@_stage
def demo(
    *,
    out: Out = Path("runs/demo"),
    config: Config = None,
    assign: Assign = None,
    resume: Resume = False,
    device: Device = "auto",
    debug: Debug = False,  # noqa: ARG001 - read by `_stage`
) -> None:
    """Run every stage on eight simulated subjects and print the path of the report."""
    from mindeye2.demo import demo as run

    page = run(out, config=config, assignments=assign or [], resume=resume, device=device)
    print(page)


@app.command()
@_stage
def prepare(
    *,
    kind: Annotated[str, typer.Argument(help=f"Kind of source: {KINDS}.")],
    out: Out,
    source: Source = None,
    config: Config = None,
    assign: Assign = None,
    resume: Resume = False,
    device: Device = "auto",
    debug: Debug = False,  # noqa: ARG001 - read by `_stage`
) -> None:
    """Convert source data to stimuli, trials, z-scored betas and target tokens."""
    from mindeye2.core.settings import load_settings
    from mindeye2.recipes import PREPARATION
    from mindeye2.stages.prepare import prepare as run

    check_choice("KIND", kind, PREPARATION)
    settings = load_settings(PREPARATION[kind](), file=config, assignments=assign or [])
    print(run(settings, out=out, source=source, resume=resume, device=device))


@app.command()
@_stage
def train(
    *,
    recipe: Annotated[str, typer.Option("--recipe", help=f"{RECIPES}.")],
    source: Annotated[Path, typer.Option("--source", help="Prepared data set.")],
    out: Out,
    init: Init = None,
    config: Config = None,
    assign: Assign = None,
    resume: Resume = False,
    device: Device = "auto",
    debug: Debug = False,  # noqa: ARG001 - read by `_stage`
) -> None:
    """Train a brain decoder or an image decoder."""
    from mindeye2.core.settings import load_settings
    from mindeye2.recipes import TRAINING
    from mindeye2.stages.train import train as run

    check_choice("--recipe", recipe, TRAINING)
    settings = load_settings(TRAINING[recipe](), file=config, assignments=assign or [])
    print(
        run(
            settings,
            source=source,
            out=out,
            init=init,
            recipe=recipe,
            resume=resume,
            device=device,
        )
    )


@app.command()
@_stage
def reconstruct(
    *,
    source: Annotated[Path, typer.Option("--source", help="Prepared data set.")],
    init: Annotated[
        Path, typer.Option("--init", help="Run folder, or folder of imported weights.")
    ],
    out: Out,
    config: Config = None,
    assign: Assign = None,
    resume: Resume = False,
    device: Device = "auto",
    debug: Debug = False,  # noqa: ARG001 - read by `_stage`
) -> None:
    """Decode image tokens, images and captions from betas."""
    from mindeye2.core.runtime import choose_device
    from mindeye2.core.settings import load_settings
    from mindeye2.recipes import released
    from mindeye2.released.folder import open_pipeline
    from mindeye2.released.imported import is_released
    from mindeye2.stages.reconstruct import ReconstructSettings
    from mindeye2.stages.reconstruct import reconstruct as run

    start = released() if is_released(init) else ReconstructSettings()
    settings = load_settings(start, file=config, assignments=assign or [])
    pipeline = open_pipeline(init, settings=settings, device=choose_device(device))
    print(
        run(
            settings,
            source=source,
            init=init,
            out=out,
            pipeline=pipeline,
            resume=resume,
            device=device,
        )
    )


@app.command()
@_stage
def evaluate(
    *,
    source: Annotated[Path, typer.Option("--source", help="Folder that reconstruct finished.")],
    out: Out,
    data: Data = None,
    config: Config = None,
    assign: Assign = None,
    resume: Resume = False,
    device: Device = "auto",
    debug: Debug = False,  # noqa: ARG001 - read by `_stage`
) -> None:
    """Score reconstructions: one score per image, intervals, chance, floor and ceiling."""
    from mindeye2.core.settings import load_settings
    from mindeye2.stages.evaluate import EvaluateSettings
    from mindeye2.stages.evaluate import evaluate as run

    settings = load_settings(EvaluateSettings(), file=config, assignments=assign or [])
    print(run(settings, source=source, out=out, data=data, resume=resume, device=device))


@app.command()
@_stage
def report(
    *,
    source: Annotated[Path, typer.Option("--source", help="Folder that evaluate finished.")],
    out: Out,
    data: Data = None,
    config: Config = None,
    assign: Assign = None,
    resume: Resume = False,
    debug: Debug = False,  # noqa: ARG001 - read by `_stage`
) -> None:
    """Render one self-contained page of scores and images."""
    from mindeye2.core.settings import load_settings
    from mindeye2.stages.report import ReportSettings
    from mindeye2.stages.report import report as run

    settings = load_settings(ReportSettings(), file=config, assignments=assign or [])
    print(run(settings, source=source, out=out, data=data, resume=resume))


@app.command()
@_stage
def doctor(
    *,
    path: Annotated[
        Path | None,
        typer.Argument(help="Data set, run or folder of them; default: environment."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Check file sizes, not hashes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
    debug: Debug = False,  # noqa: ARG001 - read by `_stage`
) -> None:
    """Check environment, data and results for silent errors; exit code 1 if there are any."""
    from mindeye2.doctor import doctor as run
    from mindeye2.doctor import print_findings

    diagnosis = run(path, hashes=not quick)
    if as_json:
        print(diagnosis.as_json())
    else:
        print_findings(diagnosis)
    if diagnosis.is_wrong:
        raise typer.Exit(1)


@app.command("import")
@_stage
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
    debug: Debug = False,  # noqa: ARG001 - read by `_stage`
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
@_stage
def export(
    *,
    run: Annotated[
        Path, typer.Argument(help="Folder that 'mindeye2 train' or 'mindeye2 import' finished.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The .safetensors file to write.")],
    debug: Debug = False,  # noqa: ARG001 - read by `_stage`
) -> None:
    """Export a brain decoder to weights that the released MindEye2 code loads."""
    from mindeye2.released.exporting import export_weights

    print(export_weights(run, out=out))


def main() -> None:
    """Run the command line."""
    app()
