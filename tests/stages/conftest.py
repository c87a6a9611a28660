"""A tiny world, made by the real stages, that the tests of stages share."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def launch_command(tmp_path_factory):
    """Return a function that runs a command in several processes; it returns code and errors."""

    def launch(world_size, *words, killed=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world_size)}
        common["LOCAL_WORLD_SIZE"] = str(world_size)
        if killed is not None:
            common |= {"KILLED_RANK": str(killed[0]), "KILLED_AT": str(killed[1])}
        script = Path(__file__).with_name("one_process.py")
        command = [sys.executable, str(script), *map(str, words), "--device", "cpu"]
        folder, running = tmp_path_factory.mktemp("errors"), []
        for rank in map(str, range(world_size)):
            env = {**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank}
            with (folder / rank).open("w") as errors:
                running.append(subprocess.Popen(command, env=env, stderr=errors))
        # One that ends ends the others, which wait for it.
        codes = [process.wait(timeout=300) for process in running]
        return codes, [(folder / str(rank)).read_text() for rank in range(world_size)]

    return launch


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """Return the folder that holds the folder of each stage."""
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="session")
def subjects():
    """Return settings of three subjects with few voxels and two short sessions."""
    from mindeye2.data.simulated import SimulationSettings
    from mindeye2.stages.prepare import SimulatedPreparation

    return SimulatedPreparation(
        n_train=60,
        n_validation=12,
        n_test=10,
        scene_size=96,
        brain_size=64,
        simulation=SimulationSettings(
            n_subjects=3,
            min_voxels=60,
            max_voxels=90,
            sessions=2,
            trials_per_session=40,
            runs_per_session=2,
            test_repeats=2,
            component_nonlinearity=0.0,
            voxel_nonlinearity=0.0,
        ),
    )


@pytest.fixture(scope="session")
def data(home, subjects):
    """Return the prepared folder."""
    from mindeye2.stages.prepare import prepare

    prepare(subjects, out=home / "data")
    return home / "data"


@pytest.fixture(scope="session")
def prepared(data):
    """Return the open data set."""
    from mindeye2.data.prepared import open_prepared

    return open_prepared(data)


@pytest.fixture(scope="session")
def standard():
    """Return settings of a short training on subj01 and subj02."""
    from mindeye2.models.model_settings import ModelSettings, PriorSettings
    from mindeye2.stages.train import PriorTraining, SharedTraining
    from mindeye2.training.loop import OptimizerSettings

    return SharedTraining(
        subjects=("subj01", "subj02"),
        model=ModelSettings(
            n_latent=16, n_blocks=1, prior=PriorSettings(depth=1, n_heads=2, head_width=8)
        ),
        per_subject=8,
        optimizer=OptimizerSettings(steps=5, trackers=()),
        validate_every=2,
        prior=PriorTraining(
            n_folds=2, batch_size=8, optimizer=OptimizerSettings(steps=3, trackers=())
        ),
    )


@pytest.fixture(scope="session")
def pretrained(home, data, standard):
    """Return the run of subj01 and subj02."""
    from mindeye2.stages.train import train

    train(standard, source=data, out=home / "pretrained", recipe="standard", device="cpu")
    return home / "pretrained"


@pytest.fixture(scope="session")
def to_subj03():
    """Return settings of a short adaptation to subj03."""
    from mindeye2.stages.train import AdaptTraining
    from mindeye2.stages.train.lora import LoraTraining
    from mindeye2.training.loop import OptimizerSettings

    few = OptimizerSettings(steps=3, trackers=())
    lora = LoraTraining(steps=3)
    return AdaptTraining(subject="subj03", batch_size=8, ridge=few, lora=lora, full=few)


@pytest.fixture(scope="session")
def adapted(home, data, pretrained, to_subj03):
    """Return the run of subj03."""
    from mindeye2.stages.train import train

    out = home / "adapted"
    train(to_subj03, source=data, init=pretrained, out=out, recipe="adapt", device="cpu")
    return out


@pytest.fixture(scope="session")
def unclip():
    """Return settings of a tiny image decoder."""
    from mindeye2.generation.unclip import UnclipSettings
    from mindeye2.stages.train import UnclipTraining
    from mindeye2.training.loop import OptimizerSettings

    return UnclipTraining(
        model=UnclipSettings(widths=(32,), sampling_steps=2),
        batch_size=4,
        optimizer=OptimizerSettings(steps=2, ema_decay=0.5, trackers=()),
    )


@pytest.fixture(scope="session")
def decoder(home, data, unclip):
    """Return the run of an image decoder that generates noise, with the shipped autoencoder."""
    from mindeye2.generation.decoders import shipped_decoder
    from mindeye2.stages.train import train

    train(unclip, source=data, init=shipped_decoder(), out=home / "decoder", device="cpu")
    return home / "decoder"


@pytest.fixture(scope="session")
def decoding(decoder):
    """Return settings of the reconstruction of subj03's test images."""
    from mindeye2.stages.reconstruct import ReconstructSettings

    return ReconstructSettings(
        subject="subj03", prior_steps=3, prior_samples=2, decoder=decoder, batch_size=4
    )


@pytest.fixture(scope="session")
def decoded(home, data, adapted, decoding):
    """Return the folder of subj03's reconstructions."""
    from mindeye2.stages.reconstruct import reconstruct

    reconstruct(decoding, source=data, init=adapted, out=home / "decoded", device="cpu")
    return home / "decoded"


@pytest.fixture(scope="session")
def judging():
    """Return settings of a quick evaluation."""
    from mindeye2.stages.evaluate import EvaluateSettings

    return EvaluateSettings(extractor_size=64, n_resamples=200)


@pytest.fixture(scope="session")
def scores(home, decoded, judging):
    """Return the folder of their scores."""
    from mindeye2.stages.evaluate import evaluate

    evaluate(judging, source=decoded, out=home / "scores")
    return home / "scores"


@pytest.fixture(scope="session")
def page(home, scores, pretrained):
    """Return the folder of the report."""
    from mindeye2.stages.report import ReportSettings, report

    settings = ReportSettings(
        title="Three subjects", curves={"pretraining": pretrained}, compare={"twin": scores}
    )
    report(settings, source=scores, out=home / "page")
    return home / "page"
