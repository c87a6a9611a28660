import json
import os
import pkgutil
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError, InterruptedRun, MissingExtraError
from mindeye2.core.settings import load_settings, plain
from mindeye2.models.checkpoint import load_run
from mindeye2.models.training_bank import load_training_bank
from mindeye2.stages.train import TASKS, AdaptTraining, AutoencoderTraining, SharedTraining, train


def stop(monkeypatch, name, *, at):
    """Let one call of a function send this process SIGTERM."""
    function = pkgutil.resolve_name(name)
    calls = []

    def stopping(*args, **kwargs):
        calls.append(name)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return function(*args, **kwargs)

    monkeypatch.setattr(name, stopping)


def same_results(left, right):
    """Compare all that a run leaves to other stages, to the byte."""
    names = ["model.safetensors", "expectation.safetensors"]
    names += [str(p.relative_to(left)) for p in (left / "memory").iterdir()]
    for name in names:
        assert (left / name).exists() == (right / name).exists()
        if (left / name).exists():
            assert (left / name).read_bytes() == (right / name).read_bytes(), name


@pytest.mark.parametrize(
    ("where", "step", "label"),
    [("BrainStep", 3, "shared-subject training"), ("PriorStep", 2, "prior")],
    ids=["body", "prior"],
)
def test_a_training_stopped_in_the_middle_resumes_to_the_same_bits(
    where, step, label, data, standard, pretrained, tmp_path, monkeypatch
):
    given = {"source": data, "out": tmp_path / "cut", "recipe": "standard", "device": "cpu"}
    with monkeypatch.context() as patch:
        stop(patch, f"mindeye2.training.brain_step.{where}.forward", at=step)
        with pytest.raises(InterruptedRun, match=rf"{label} stopped after step {step} of .*--res"):
            train(standard, **given)
    with pytest.raises(ArtifactError, match=r"the stage 'train' did not finish there"):
        load_run(tmp_path / "cut")
    train(standard, **given, resume=True)
    same_results(pretrained, tmp_path / "cut")


def test_an_adaptation_stopped_in_the_middle_resumes_to_the_same_bits(
    data, to_subj03, pretrained, adapted, tmp_path, monkeypatch
):
    given = {"source": data, "init": pretrained, "out": tmp_path / "cut", "device": "cpu"}
    with monkeypatch.context() as patch:
        # In the second level that is tried.
        stop(patch, "mindeye2.training.brain_step.BrainStep.forward", at=5)
        with pytest.raises(
            InterruptedRun, match="adaptation: level full stopped after step 2 of 3"
        ):
            train(to_subj03, **given, recipe="adapt")
    train(to_subj03, **given, recipe="adapt", resume=True)
    same_results(adapted, tmp_path / "cut")


def test_low_rank_adapters_stopped_in_the_middle_resume_to_the_same_bits(
    data, to_subj03, pretrained, tmp_path, monkeypatch
):
    settings = to_subj03.model_copy(update={"levels": ("lora",)})
    given = {"source": data, "init": pretrained, "device": "cpu"}
    train(settings, **given, out=tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop(patch, "mindeye2.training.brain_step.BrainStep.forward", at=2)
        with pytest.raises(
            InterruptedRun, match="adaptation: level lora stopped after step 2 of 3"
        ):
            train(settings, **given, out=tmp_path / "cut")
    train(settings, **given, out=tmp_path / "cut", resume=True)
    same_results(tmp_path / "whole", tmp_path / "cut")


def test_test_trials_change_nothing_that_is_learned(
    data, standard, pretrained, tmp_path, prepared
):
    other = shutil.copytree(data, tmp_path / "data")
    for subject in standard.subjects:
        betas = np.load(other / "betas" / f"{subject}.npy")
        betas[prepared.trials_of(subject, "test").index] = 100
        np.save(other / "betas" / f"{subject}.npy", betas)
    train(standard, source=other, out=tmp_path / "run", device="cpu")
    same_results(pretrained, tmp_path / "run")


def test_the_training_banks_of_a_run_hold_its_training_images(pretrained, adapted, prepared):
    shown = prepared.trials_of("subj01", "train")["image"].unique()
    bank = load_training_bank(pretrained, "subj01")
    assert bank.images.tolist() == sorted(shown)
    assert bank.captions == [prepared.captions[i] for i in sorted(shown)]
    table = prepared.trials_of("subj03")
    own = table.loc[table["split"] != "test", "image"].unique()
    assert load_training_bank(adapted, "subj03").images.tolist() == sorted(own)
    with pytest.raises(ArtifactError, match=r"was trained on \['subj03'\], not on 'subj01'"):
        load_training_bank(adapted, "subj01")


def test_a_run_records_what_it_was(pretrained):
    config = read_manifest(pretrained, stage="train")["config"]
    assert (config["task"], config["recipe"], config["init"]) == ("shared", "standard", None)
    steps = [json.loads(x) for x in (pretrained / "steps.jsonl").read_text().splitlines()]
    assert [x["step"] for x in steps] == [0, 1, 2, 3, 4]
    assert [x["step"] for x in steps if "validation_top1" in x] == [1, 3, 4]
    weights = load_file(pretrained / "model.safetensors")
    assert {n for n in weights if n.startswith("ridge")} == {
        f"ridge.maps.{s}.{p}" for s in ("subj01", "subj02") for p in ("weight", "bias")
    }


def test_each_task_has_its_own_settings():
    assert TASKS["shared"] is SharedTraining
    assert len({*TASKS.values()}) == len(TASKS)


def test_adaptation_needs_a_run_to_start_from(data, tmp_path):
    message = r"the task 'adapt' starts from the pretrained run: give its folder with --init"
    with pytest.raises(ArtifactError, match=message):
        train(AdaptTraining(), source=data, out=tmp_path)


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_done(
    standard, tmp_path, monkeypatch
):
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", list)
    optimizer = standard.optimizer.model_copy(update={"trackers": ("mlflow",)})
    settings = standard.model_copy(update={"optimizer": optimizer})
    with pytest.raises(MissingExtraError, match=r"^optimizer\.trackers names 'mlflow'"):
        train(settings, source=tmp_path / "data", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_is_not_trained_into_twice(data, standard, pretrained):
    with pytest.raises(ArtifactError, match=r"is not empty\. Add --resume"):
        train(standard, source=data, out=pretrained)
    other = standard.model_copy(update={"seed": 5})
    with pytest.raises(ArtifactError, match=r"started with other settings: \[.*'seed'\] differ"):
        train(other, source=data, out=pretrained, recipe="other", resume=True)


def test_a_finished_run_keeps_no_state_and_stays_as_it_is(
    data, standard, pretrained, adapted, monkeypatch
):
    assert not [path for run in (pretrained, adapted) for path in run.rglob("state")]
    before = (pretrained / "manifest.json").stat().st_mtime_ns
    monkeypatch.setattr("mindeye2.stages.train.run.train_brain", None)  # it would be called
    config = read_manifest(pretrained, stage="train")["config"]
    done = train(standard, source=data, out=pretrained, recipe=config["recipe"], resume=True)
    assert done.stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["images.npy", "trials.parquet", "betas/subj02.npy"])
def test_a_run_does_not_go_on_with_another_data_set(data, standard, pretrained, tmp_path, name):
    other = shutil.copytree(data, tmp_path / "other")
    seal = json.loads((other / "manifest.json").read_text())
    seal["files"][name]["sha256"] = "0" * 64
    (other / "manifest.json").write_text(json.dumps(seal))
    message = r"begun with another data set than .*other: images, trials or betas differ\. Give"
    with pytest.raises(ArtifactError, match=message):
        train(standard, source=other, out=pretrained, recipe="standard", resume=True)


def test_how_steps_are_computed_may_change_when_a_run_is_resumed(data, standard, tmp_path):
    changes = {"sharding": "fsdp", "accumulate": 2, "save_minutes": 1.0}
    optimizer = standard.optimizer.model_copy(update={"steps": 1})
    first = standard.model_copy(update={"optimizer": optimizer, "train_prior": False})
    train(first, source=data, out=tmp_path, recipe="standard", device="cpu")
    (tmp_path / "manifest.json").unlink()
    other = first.model_copy(update={"optimizer": optimizer.model_copy(update=changes)})
    train(other, source=data, out=tmp_path, recipe="standard", device="cpu", resume=True)
    config = read_manifest(tmp_path, stage="train")["config"]
    assert config["optimizer"]["sharding"] == "fsdp"


def test_an_unfinished_data_set_is_not_trained_on(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(ArtifactError, match=r"the stage 'prepare' did not finish there"):
        train(AutoencoderTraining(), source=tmp_path / "data", out=tmp_path / "run")


@pytest.fixture(scope="module")
def without_dropout(standard):
    """Return settings of training without dropout, whose numbers differ from rank to rank."""
    prior = standard.model.prior.model_copy(update={"condition_dropout": 0.5})
    model = standard.model.model_copy(update={"dropout": 0.0, "prior": prior})
    return standard.model_copy(update={"model": model})


@pytest.fixture(scope="module")
def alone(data, without_dropout, tmp_path_factory):
    """Return the run of one process; ``start`` beside it has the weights that it began with."""
    home = tmp_path_factory.mktemp("alone")
    train(without_dropout, source=data, out=home / "run", recipe="standard", device="cpu")
    still = without_dropout.model_copy(update={"train_body": False, "train_prior": False})
    train(still, source=data, out=home / "start", recipe="standard", device="cpu")
    return home / "run"


@pytest.fixture(scope="module")
def pair(data, without_dropout, unclip, tmp_path_factory):
    """Return the folder in which two processes trained, and the messages of each.

    They train what `alone` and `decoder` are, on the CPU.
    """
    home = tmp_path_factory.mktemp("pair")
    given = {"shared": plain(without_dropout), "unclip": plain(unclip)}
    (home / "settings.json").write_text(json.dumps(given))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launch = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    launch |= {"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("one_rank.py")), data, home]
    running = []
    for i in range(2):
        number = {"RANK": str(i), "LOCAL_RANK": str(i)}
        with (home / f"errors-{i}").open("w") as errors:
            env = {**os.environ, **launch, **number}
            running.append(subprocess.Popen(command, env=env, stderr=errors))
    deadline = time.monotonic() + 180
    # One that fails leaves the other waiting for it.
    while {None} <= {p.poll() for p in running} <= {None, 0} and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in running:
        process.kill()
    codes = [process.wait() for process in running]
    assert codes == [0, 0], [(home / f"errors-{i}").read_text() for i in range(2)]
    return home, [json.loads((home / f"messages-{i}.json").read_text()) for i in range(2)]


def lines_of(run):
    return [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]


def same_steps(left, right):
    """Compare two logs: losses and gradients differ by rounding only."""
    assert [e["step"] for e in left] == [e["step"] for e in right] == list(range(len(left)))
    for a, b in zip(left, right, strict=True):
        common = {*a} - {"seconds"}
        assert common == {*b} - {"seconds"}
        assert {k: b[k] for k in common} == pytest.approx({k: a[k] for k in common}, rel=2e-3)


def same_sizes_of_change(start, left, right):
    """Compare how far weights moved: Adam enlarges rounding of gradients near zero."""
    start, left, right = load_file(start), load_file(left), load_file(right)
    assert {*left} == {*right}
    for name in left:
        moved, other = (t[name].float() - start[name].float() for t in (left, right))
        assert float(other.norm()) == pytest.approx(float(moved.norm()), rel=0.05, abs=1e-4), name


def test_shared_subject_training_is_that_of_one_process(pair, alone):
    """Without dropout; with mixing, both contrastive losses, and a stop and resume on the way."""
    run = pair[0] / "shared"
    same_steps(lines_of(alone), lines_of(run))
    start = alone.parent / "start" / "model.safetensors"
    same_sizes_of_change(start, alone / "model.safetensors", run / "model.safetensors")
    files = read_manifest(alone, stage="train")["files"]
    assert read_manifest(run, stage="train")["files"].keys() == files.keys()


@pytest.mark.slow
def test_adapters_of_two_processes_sharded_are_those_of_one(data, alone, tmp_path):
    """Of backbone and prior, in micro-batches."""
    given = ["subject=subj03", "batch_size=8", "levels=[lora]", "losses.prior=1", "lora.steps=3"]
    settings = load_settings(AdaptTraining(), assignments=given)
    train(settings, source=data, init=alone, out=tmp_path / "one", device="cpu")
    given += ["lora.sharding=fsdp", "lora.accumulate=2", "lora.checkpointing=true"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "-m", "mindeye2", "train", "--recipe", "adapt"]
    command += ["--device", "cpu", "--source", data, "--init", alone, "--out", tmp_path / "two"]
    for assignment in given:
        command += ["--set", assignment]
    subprocess.run(command, check=True, capture_output=True)
    same_steps(lines_of(tmp_path / "one"), lines_of(tmp_path / "two"))


def test_the_prior_s_training_is_that_of_one_process(pair, alone):
    same_steps(lines_of(alone / "prior"), lines_of(pair[0] / "shared/prior"))


def test_training_of_an_image_decoder_is_that_of_one_process(pair, decoder):
    same_steps(lines_of(decoder), lines_of(pair[0] / "unclip"))


def test_only_the_first_of_several_processes_writes_but_all_write_the_state(pair):
    first, second = (messages["written"] for messages in pair[1])
    assert all("/state/" in path for path in second)
    for name in ("config.yaml", "steps.jsonl", ".metadata", "manifest.json"):
        assert any(name in path for path in first), name


def test_a_signal_to_one_process_stops_all_after_the_same_step(pair):
    message = "InterruptedRun: shared-subject training stopped after step 3 of 5; the state"
    assert all(messages["stopped"].startswith(message) for messages in pair[1])
    assert not any("resumed" in messages or "unclip" in messages for messages in pair[1])


def test_a_batch_that_cannot_be_divided_is_refused(pair):
    message = (
        "ValueError: 5 trials of subj01 a step cannot be divided equally among 2 processes. "
        "Add --set per_subject=4, or start a number of processes"
    )
    assert all(messages["odd"].startswith(message) for messages in pair[1])


def test_a_folder_that_not_all_processes_see_is_refused(pair):
    assert all("not all processes find" in messages["apart"] for messages in pair[1])


def test_gathered_rows_are_in_the_order_of_ranks_and_pass_gradients_on(pair):
    """The mean over ranks of each one's gradient is the gradient of the whole."""
    assert [messages["rows"] for messages in pair[1]] == [[0, 1, 2, 3, 4, 5]] * 2
    own = [0, 1, 2], [3, 4, 5]
    gradients = [messages["gradient"] for messages in pair[1]]
    assert gradients == [[2 * n for n in rows] for rows in own]


def test_the_spread_of_a_batch_is_that_of_all_its_rows(pair):
    expected = float(torch.arange(6.0).std())
    assert [messages["std"] for messages in pair[1]] == [pytest.approx(expected)] * 2
