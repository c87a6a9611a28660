"""Command line: one command per stage, with the same options."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mindeye2.choices import ANALYSES, GPUS, KINDS, RECIPES, STAGES
from mindeye2.cli.decoding import decode, decode_run
from mindeye2.cli.missing_values import Commands
from mindeye2.cli.options import (
    KIND_NAMES,
    Assign,
    Config,
    Data,
    Debug,
    Device,
    Init,
    Kind,
    Out,
    Recipe,
    Resume,
    Source,
    Subject,
    Version,
    completing,
)
from mindeye2.cli.outcome import print_summary, report_outcome, stop_on_sigterm
from mindeye2.cli.subjects import load_with_subjects, subjects_of_source
from mindeye2.core.errors import check_choice

__all__ = ["app", "main"]

app = typer.Typer(
    name="mindeye2",
    cls=Commands,
    help="Decode fMRI responses to images, captions and retrieval.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _options(*, version: Version = False) -> None:
    """Decode fMRI responses to images, captions and retrieval."""


@app.command()
@report_outcome
def demo(
    *,
    out: Out = Path("runs/demo"),
    config: Config = None,
    assign: Assign = None,
    resume: Resume = False,
    device: Device = "auto",
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
) -> None:
    """Run every stage on eight simulated subjects and print the path of the report."""
    from mindeye2.demo import demo as run

    page = run(out, config=config, assignments=assign or [], resume=resume, device=device)
    print_summary(out / "adapted-scores" / "manifest.json", follow=False)
    print_summary(page)


@app.command()
@report_outcome
def prepare(
    *,
    kind: Kind = None,
    out: Out,
    source: Source = None,
    subject: Subject = None,
    config: Config = None,
    assign: Assign = None,
    resume: Resume = False,
    device: Device = "auto",
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
) -> None:
    """Convert source data to stimuli, trials, z-scored betas and target tokens."""
    if kind is None:
        raise ValueError(
            f"KIND is missing: give what the source is, one of {list(KINDS)}, e.g. "
            "mindeye2 prepare table --source FOLDER --out NEW."
        )
    check_choice("KIND", kind, KINDS)

    from mindeye2.core.settings import load_settings
    from mindeye2.recipes import PREPARATION
    from mindeye2.stages.prepare import prepare as run

    start = PREPARATION[kind]()
    chosen = subjects_of_source(kind, start, subject)
    settings = load_settings(start, file=config, assignments=[*(assign or []), *chosen])
    print_summary(run(settings, out=out, source=source, resume=resume, device=device))


@app.command()
@report_outcome
def train(
    *,
    recipe: Recipe = None,
    source: Annotated[Path, typer.Option("--source", help="Prepared data set.")],
    out: Out,
    init: Init = None,
    subject: Subject = None,
    config: Config = None,
    assign: Assign = None,
    resume: Resume = False,
    device: Device = "auto",
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
) -> None:
    """Train a brain decoder or an image decoder."""
    if recipe is None:
        raise ValueError(
            f"--recipe is missing: give one of {list(RECIPES)}. 'mindeye2 recipes' describes them."
        )
    check_choice("--recipe", recipe, RECIPES)

    from mindeye2.core.settings import load_settings
    from mindeye2.recipes import TRAINING
    from mindeye2.released import open_brain_decoder
    from mindeye2.stages.train import train as run

    load = partial(load_settings, file=config, assignments=assign or [])
    manifest = run(
        load_with_subjects(TRAINING[recipe](), load, data=source, chosen=subject),
        source=source,
        out=out,
        init=init,
        recipe=recipe,
        resume=resume,
        device=device,
        load_init=open_brain_decoder,
    )
    print_summary(manifest, source=source)


@app.command()
@report_outcome
def reconstruct(
    *,
    source: Annotated[Path, typer.Option("--source", help="Prepared data set.")],
    out: Out,
    init: Annotated[
        Path | None, typer.Option("--init", help="Run folder, or folder of imported weights.")
    ] = None,
    subject: Subject = None,
    config: Config = None,
    assign: Assign = None,
    resume: Resume = False,
    device: Device = "auto",
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
) -> None:
    """Decode image tokens, images and captions from betas."""
    if init is None:
        raise ValueError(
            "--init is missing: give the run folder of 'mindeye2 train', or the folder of "
            "'mindeye2 import'."
        )
    manifest = decode(
        init,
        source=source,
        out=out,
        subjects=subject,
        config=config,
        assignments=assign or [],
        resume=resume,
        device=device,
    )
    print_summary(manifest)


@app.command()
@report_outcome
def evaluate(
    *,
    source: Annotated[Path, typer.Option("--source", help="Folder of reconstruct, or a run.")],
    out: Out,
    decoded: Annotated[
        Path | None,
        typer.Option(
            "--decoded", help="Of a run: folder of its reconstructions. Default: OUT-decoded."
        ),
    ] = None,
    decoding: Annotated[
        list[str] | None,
        typer.Option(
            "--decoding",
            metavar="KEY.PATH=VALUE",
            help="Of a run: a setting of reconstruct; may be repeated.",
        ),
    ] = None,
    data: Data = None,
    config: Config = None,
    assign: Assign = None,
    resume: Resume = False,
    device: Device = "auto",
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
) -> None:
    """Score reconstructions: one score per image, intervals, chance, floor and ceiling."""
    from mindeye2.controls import decode_again
    from mindeye2.core.settings import load_settings
    from mindeye2.stages.evaluate import EvaluateSettings
    from mindeye2.stages.evaluate import evaluate as run

    settings = load_settings(EvaluateSettings(), file=config, assignments=assign or [])
    source = decode_run(
        source, out=out, decoded=decoded, assignments=decoding or [], data=data, device=device
    )
    manifest = run(
        settings,
        source=source,
        out=out,
        data=data,
        resume=resume,
        device=device,
        decode=partial(decode_again, source=source, data=data, device=device),
    )
    print_summary(manifest)


@app.command()
@report_outcome
def report(
    *,
    source: Annotated[Path, typer.Option("--source", help="Folder that evaluate finished.")],
    out: Out,
    data: Data = None,
    config: Config = None,
    assign: Assign = None,
    resume: Resume = False,
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
) -> None:
    """Render one self-contained page of scores and images."""
    from mindeye2.core.settings import load_settings
    from mindeye2.stages.report import ReportSettings
    from mindeye2.stages.report import report as run

    settings = load_settings(ReportSettings(), file=config, assignments=assign or [])
    print_summary(run(settings, source=source, out=out, data=data, resume=resume))


@app.command()
@report_outcome
def compare(
    *,
    runs: Annotated[list[Path], typer.Argument(help="Folders that evaluate finished.")],
    out: Out,
    config: Config = None,
    assign: Assign = None,
    resume: Resume = False,
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
) -> None:
    """Compare runs on the same test images: paired differences, Holm, equivalence, tables."""
    from mindeye2.core.settings import load_settings
    from mindeye2.stages.compare import CompareSettings
    from mindeye2.stages.compare import compare as run

    settings = load_settings(CompareSettings(), file=config, assignments=assign or [])
    print(run(settings, sources=runs, out=out, resume=resume))


@app.command()
def recipes() -> None:
    """List the recipes of 'mindeye2 train': what each trains, and for whom."""
    from mindeye2.settings_guide import describe_recipes

    print(describe_recipes())


@app.command()
@report_outcome
def settings(
    *,
    stage: Annotated[
        str,
        typer.Argument(help=f"{', '.join(STAGES)}.", autocompletion=completing(STAGES)),
    ],
    kind: Annotated[
        str | None,
        typer.Argument(
            help=f"Kind of source, for prepare: {KIND_NAMES}; of analysis, for analyse: "
            f"{', '.join(ANALYSES)}.",
            autocompletion=completing([*KINDS, *ANALYSES]),
        ),
    ] = None,
    recipe: Recipe = None,
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="Print a commented YAML file for --config.")
    ] = False,
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
) -> None:
    """List the settings of a stage: dotted name, default, accepted values and meaning."""
    from mindeye2.core.settings_listing import commented_yaml
    from mindeye2.settings_guide import describe_settings, start_settings

    start = start_settings(stage, kind=kind, recipe=recipe)
    if as_yaml:
        named = " ".join([stage, *filter(None, [kind]), *(["--recipe", recipe] if recipe else [])])
        print(commented_yaml(start, title=f"Settings of 'mindeye2 {named}'."), end="")
    else:
        print(describe_settings(start))


@app.command()
@report_outcome
def plan(
    *,
    recipe: Recipe = None,
    gpu: Annotated[str, typer.Option("--gpu", help=f"{', '.join(GPUS)}.")] = "h100",
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="Number of GPUs.")] = 1,
    source: Annotated[
        Path | None, typer.Option("--source", help="Prepared data set; by default NSD.")
    ] = None,
    voxels: Annotated[
        list[int] | None,
        typer.Option(
            "--voxels", help="Voxels of a subject, instead of --source; repeat for more."
        ),
    ] = None,
    init: Init = None,
    utilisation: Annotated[
        float | None,
        typer.Option(
            "--utilisation", help="Fraction of the peak arithmetic, as benchmarks/gpu.py measures."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
    config: Config = None,
    assign: Assign = None,
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
) -> None:
    """Plan a training: parameters, memory, disk, time, and the batches that fit some GPUs."""
    if recipe is None:
        raise ValueError(f"--recipe is missing: give one of {list(RECIPES)}.")
    check_choice("--recipe", recipe, RECIPES)
    check_choice("--gpu", gpu, GPUS)

    from mindeye2.core.settings import load_settings
    from mindeye2.planning import choose_data, choose_sizes, plan_training, plannable, print_plan
    from mindeye2.recipes import TRAINING

    settings = plannable(load_settings(TRAINING[recipe](), file=config, assignments=assign or []))
    planned = plan_training(
        settings,
        data=choose_data(settings, source=source, voxels=voxels or []),
        gpu=gpu,
        n_gpus=gpus,
        sizes=choose_sizes(init),
        utilisation=utilisation,
    )
    if as_json:
        print(json.dumps(planned.as_dict(), indent=2))
    else:
        print_plan(planned)


@app.command()
@report_outcome
def doctor(
    *,
    path: Annotated[
        Path | None,
        typer.Argument(help="Data set, run or folder of them; default: environment."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Check file sizes, not hashes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
    debug: Debug = False,  # noqa: ARG001 - read by `report_outcome`
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


def main() -> None:
    """Run the command line."""
    stop_on_sigterm()
    app()
