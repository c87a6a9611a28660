import importlib
import json
import os
import shutil
import signal

import numpy as np
import pytest
from safetensors.torch import load_file

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError, InterruptedRun
from mindeye2.models.checkpoint import load_run
from mindeye2.models.memory import load_memory
from mindeye2.stages.train import TASKS, AdaptTraining, AutoencoderTraining, SharedTraining, train


def stop(monkeypatch, name, *, at):
    """Let one call of a function send this process SIGTERM."""
    module, _, attribute = name.rpartition(".")
    function = getattr(importlib.import_module(module), attribute)
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
    [("draw_batch", 3, "shared-subject training"), ("epoch_rows", 2, "prior")],
    ids=["body", "prior"],
)
def test_a_training_stopped_in_the_middle_resumes_to_the_same_bits(
    where, step, label, data, standard, pretrained, tmp_path, monkeypatch
):
    given = {"source": data, "out": tmp_path / "cut", "recipe": "standard", "device": "cpu"}
    with monkeypatch.context() as patch:
        stop(patch, f"mindeye2.stages.train.shared.{where}", at=step)
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
        # In the second rung that is tried.
        stop(patch, "mindeye2.stages.train.adapt.draw_batch", at=5)
        with pytest.raises(InterruptedRun, match="adaptation: body stopped after step 2 of 3"):
            train(to_subj03, **given, recipe="adapt")
    train(to_subj03, **given, recipe="adapt", resume=True)
    same_results(adapted, tmp_path / "cut")


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


def test_a_run_remembers_the_images_that_it_trained_on(pretrained, adapted, prepared):
    shown = prepared.trials_of("subj01", "train")["image"].unique()
    memory = load_memory(pretrained, "subj01")
    assert memory.images.tolist() == sorted(shown)
    assert memory.captions == [prepared.captions[i] for i in sorted(shown)]
    table = prepared.trials_of("subj03", sessions=[1])
    own = table.loc[table["split"] != "test", "image"].unique()
    assert load_memory(adapted, "subj03").images.tolist() == sorted(own)
    with pytest.raises(ArtifactError, match=r"was trained on \['subj03'\], not on 'subj01'"):
        load_memory(adapted, "subj01")


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


def test_a_task_is_told_by_its_settings():
    assert TASKS["shared"] is SharedTraining
    assert len({*TASKS.values()}) == len(TASKS) == 4


def test_adaptation_needs_a_run_to_start_from(data, tmp_path):
    message = r"the task 'adapt' starts from the pretrained run: give its folder with --init"
    with pytest.raises(ArtifactError, match=message):
        train(AdaptTraining(), source=data, out=tmp_path)


def test_a_folder_is_not_trained_into_twice(data, standard, pretrained):
    with pytest.raises(ArtifactError, match=r"is not empty\. Add --resume"):
        train(standard, source=data, out=pretrained)
    other = standard.model_copy(update={"seed": 5})
    with pytest.raises(ArtifactError, match=r"begun with other settings: \[.*'seed'\] differ"):
        train(other, source=data, out=pretrained, recipe="other", resume=True)


def test_an_unfinished_data_set_is_not_trained_on(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(ArtifactError, match=r"the stage 'prepare' did not finish there"):
        train(AutoencoderTraining(), source=tmp_path / "data", out=tmp_path / "run")
