"""The demo: every stage in turn on simulated subjects, from no data at all to a report."""

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from mindeye2 import recipes
from mindeye2.controls import decode_again
from mindeye2.core.artifacts import claim_folder, write_json
from mindeye2.core.failures import recorded_failure
from mindeye2.core.runtime import peak_memory_gib
from mindeye2.core.settings import Settings, load_settings
from mindeye2.stages.evaluate import EvaluateSettings, evaluate
from mindeye2.stages.prepare import SimulatedPreparation, prepare
from mindeye2.stages.reconstruct import ReconstructSettings, reconstruct
from mindeye2.stages.report import ReportSettings, report
from mindeye2.stages.train import AdaptTraining, SharedTraining, TrainSettings, train

__all__ = ["DemoSettings", "demo"]


class DemoSettings(Settings):
    """Settings of every stage of ``mindeye2 demo``."""

    data: SimulatedPreparation = recipes.demo_data()
    """Simulated subjects and their stimuli."""

    pretrain: SharedTraining = recipes.demo()
    """Pretraining on seven subjects."""

    adapt: AdaptTraining = recipes.adapt().model_copy(update={"sessions": (1,)})
    """Adaptation to the eighth subject with one session."""

    scratch: SharedTraining = recipes.scratch().model_copy(update={"sessions": (1,)})
    """Training on that session alone."""

    ridge: SharedTraining = recipes.ridge().model_copy(update={"sessions": (1,)})
    """Ridge regression on that session."""

    reconstruct: ReconstructSettings = ReconstructSettings()
    """Reconstruction of the eighth subject's test images."""

    evaluate: EvaluateSettings = EvaluateSettings()
    """Scores."""


def demo(
    out: Path,
    *,
    config: Path | None = None,
    assignments: Sequence[str] = (),
    resume: bool = False,
    device: str = "auto",
) -> Path:
    """Run every stage on simulated subjects.

    Parameters
    ----------
    out
        Folder to fill, a folder per stage.
    config
        YAML file of `DemoSettings` that differ.
    assignments
        ``key.path=value`` on top.
    resume
        Continue an interrupted demo; finished stages are not run again.
    device
        Where to compute.

    Returns
    -------
    Path
        The report, ``index.html``.

    Raises
    ------
    ArtifactError
        If the folder is not empty and `resume` is off.
    """
    settings = load_settings(DemoSettings(), file=config, assignments=assignments)
    out = claim_folder(out, resume=resume)
    stages = _stages(settings, out, resume=resume, device=device)
    path = out / "costs.json"
    # A resumed demo keeps the costs of its finished stages.
    costs: list[dict[str, object]] = json.loads(path.read_text()) if path.exists() else []
    for number, (name, run) in enumerate(stages.items(), 1):
        if (out / name / "manifest.json").exists():
            continue
        print(f"{number} of {len(stages)}: {name} ...", flush=True)
        began = time.monotonic()
        with recorded_failure(out / name, command="demo", resume=resume):
            run(out / name)
        seconds = round(time.monotonic() - began, 1)
        print(f"{name}: {seconds} s", flush=True)
        costs.append(
            {"stage": name, "seconds": seconds, "peak_memory_gib": round(peak_memory_gib(), 2)}
        )
        write_json(path, costs)
    return out / "report" / "index.html"


def _stages(
    s: DemoSettings, out: Path, *, resume: bool, device: str
) -> dict[str, Callable[[Path], Path]]:
    """Return the stages in order, by the name of the folder that each fills."""
    data, pretrained = out / "data", out / "pretrained"

    def training(
        settings: TrainSettings, name: str, init: Path | None = None
    ) -> Callable[[Path], Path]:
        return lambda folder: train(
            settings,
            source=data,
            out=folder,
            init=init,
            recipe=name,
            resume=resume,
            device=device,
        )

    def decoding(name: str) -> Callable[[Path], Path]:
        # The page shows images of one arm; the others are compared by tokens and captions.
        settings = s.reconstruct.model_copy(update={"images": name == "adapted"})
        return lambda folder: reconstruct(
            settings, source=data, init=out / name, out=folder, resume=resume, device=device
        )

    def scoring(name: str) -> Callable[[Path], Path]:
        decoded = out / f"{name}-decoded"
        decode = partial(decode_again, source=decoded, device=device)
        return lambda folder: evaluate(
            s.evaluate, source=decoded, out=folder, resume=resume, decode=decode
        )

    stages: dict[str, Callable[[Path], Path]] = {
        "data": lambda folder: prepare(s.data, out=folder, resume=resume),
        "pretrained": training(s.pretrain, "pretrained"),
        "adapted": training(s.adapt, "adapted", pretrained),
        "scratch": training(s.scratch, "scratch"),
        "ridge": training(s.ridge, "ridge"),
    }
    for name in ("adapted", "scratch", "ridge"):
        stages[f"{name}-decoded"] = decoding(name)
        stages[f"{name}-scores"] = scoring(name)
    page = ReportSettings(
        title="Stimuli and reconstructions of one of eight simulated subjects",
        compare={"scratch": out / "scratch-scores", "ridge": out / "ridge-scores"},
        curves={
            "pretraining": pretrained,
            "adaptation": out / "adapted",
            "scratch": out / "scratch",
        },
        costs=out / "costs.json",
    )
    stages["report"] = lambda folder: report(
        page, source=out / "adapted-scores", out=folder, resume=resume
    )
    return stages
