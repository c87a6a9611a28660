import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from mindeye2.core.artifacts import write_json, write_manifest
from mindeye2.doctor.results import check_reconstruction, check_run, check_scores
from mindeye2.models.training_bank import TrainingBank, save_training_bank


def train_on(run, images, subject="subj01"):
    """Write the training bank of a subject without captions."""
    bank = TrainingBank(
        images=torch.tensor(list(images)),
        preds=torch.zeros(len(images), 1, 1),
        targets=torch.zeros(len(images), 1, 1),
        captions=None,
    )
    save_training_bank(run, subject, bank)


@pytest.fixture
def run(tmp_path):
    """Return a run folder that is sound."""
    folder = tmp_path / "run"
    (folder / "memory").mkdir(parents=True)
    save_file({"a": torch.ones(3), "b": torch.ones(2)}, folder / "model.safetensors")
    (folder / "steps.jsonl").write_text('{"step": 0, "loss": 2.0}\n{"step": 1, "loss": 1.0}\n')
    train_on(folder, range(60))
    write_manifest(folder, stage="train", config={"recipe": "demo"}, images="abc")
    return folder


@pytest.fixture
def decoded(tmp_path, run):
    """Return a folder of reconstructions that is sound, and its manifest."""
    folder = tmp_path / "decoded"
    folder.mkdir()
    rng = np.random.default_rng(0)
    pd.DataFrame({"image": range(68, 80)}).to_parquet(folder / "items.parquet")
    images = rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    np.save(folder / "unclip.npy", images)
    true = torch.from_numpy(rng.normal(size=(12, 4, 5)))
    save_file({"true": true, "backbone": 0.3 * true}, folder / "tokens.safetensors")
    config = {"init": str(run), "source": str(tmp_path / "data"), "split": "test"}
    return folder, {"stage": "reconstruct", "config": config, "training_images": [1, 2]}


@pytest.fixture
def scored(tmp_path):
    """Return what writes a folder of scores."""

    def write_dataset(values, *, low, name="image_top1", mean=None):
        pd.DataFrame({"image": range(len(values)), name: values}).to_parquet(
            tmp_path / "scores.parquet"
        )
        value = float(np.mean(values)) if mean is None else mean
        row = {"name": name, "value": value, "low": low, "high": 1.0, "chance": 0.1}
        write_json(tmp_path / "summary.json", [row])
        return check_scores(tmp_path, {"stage": "evaluate", "config": {"source": "decoded"}})

    return write_dataset


def test_a_sound_run_is_described_by_its_steps(run):
    (finding,) = check_run(run, json.loads((run / "manifest.json").read_text()))
    assert (finding.level, finding.found) == (
        "ok",
        "weights and the losses of 2 steps are finite",
    )


def test_weights_and_losses_that_are_not_finite_are_errors(run, wrong):
    save_file({"a": torch.tensor([1, np.nan])}, run / "model.safetensors")
    (run / "steps.jsonl").write_text('{"loss": 2.0}\n{"loss": NaN}\n')
    findings = check_run(run, {"stage": "train", "config": {"recipe": "demo"}})
    assert wrong(findings) == [
        ("error", "run", "model.safetensors"),
        ("error", "run", "steps.jsonl"),
    ]
    assert findings[0].found == "weights are NaN or infinite: a"
    assert findings[1].found == "the loss is not finite from step 1 on"
    assert "--set optimizer.max_lr" in findings[1].fix


def test_a_sound_reconstruction_is_counted(decoded):
    (finding,) = check_reconstruction(*decoded)
    assert finding.found.startswith("12 images: tokens and images are finite")


def test_a_model_that_was_trained_on_test_images_is_an_error(decoded, run, wrong):
    """Also if the bank has no captions, and is of another subject than the reconstructed one."""
    folder, manifest = decoded
    train_on(run, [5, 70, 71], subject="subj02")
    findings = check_reconstruction(folder, manifest)
    assert wrong(findings) == [("error", "reconstruction", "decoded")]
    assert "trained on 2 of these images: 70, 71" in findings[0].found
    manifest["config"]["split"] = "train"
    assert wrong(check_reconstruction(folder, manifest)) == []


@pytest.mark.parametrize(("images", "n_wrong"), [("abc", 1), ("of another data set", 0)])
def test_the_run_that_a_run_started_from_is_checked_too(decoded, run, wrong, images, n_wrong):
    folder, manifest = decoded
    adapted = run.with_name("adapted")
    adapted.mkdir()
    write_manifest(adapted, stage="train", config={"init": str(run)}, images=images)
    manifest["config"]["init"] = str(adapted)
    train_on(run, [70, 71])
    assert len(wrong(check_reconstruction(folder, manifest))) == n_wrong


def test_unknown_training_images_are_not_called_disjoint(decoded, tmp_path):
    folder, manifest = decoded
    manifest = {**manifest, "training_images": []}
    manifest["config"]["init"] = str(tmp_path / "published")
    (finding,) = check_reconstruction(folder, manifest)
    assert finding.found.endswith("the training images are unknown")


def test_images_of_one_colour_and_tokens_that_are_nan_are_errors(decoded, wrong):
    folder, manifest = decoded
    np.save(folder / "unclip.npy", np.zeros((12, 8, 8, 3), np.uint8))
    save_file({"prior": torch.full((12, 2), np.nan)}, folder / "tokens.safetensors")
    assert wrong(check_reconstruction(folder, manifest)) == [
        ("error", "reconstruction", "tokens.safetensors"),
        ("error", "reconstruction", "unclip.npy"),
    ]


def test_collapsed_tokens_are_a_warning(decoded, wrong):
    folder, manifest = decoded
    true = torch.randn(12, 4, 5, generator=torch.Generator().manual_seed(0))
    save_file({"true": true, "backbone": 0.01 * true}, folder / "tokens.safetensors")
    findings = check_reconstruction(folder, manifest)
    assert wrong(findings) == [("warning", "reconstruction", "tokens.safetensors")]
    assert "1.0 % of the true standard deviation" in findings[0].found


def test_a_run_of_other_images_is_an_error(decoded, dataset, write_dataset, run, wrong):
    folder, manifest = decoded
    write_dataset(dataset)  # where the manifest says that the data set lies
    findings = check_reconstruction(folder, manifest)
    assert wrong(findings) == [("error", "reconstruction", str(run))]
    assert "trained on other images" in findings[0].found


@pytest.mark.parametrize(
    ("values", "given", "expected"),
    [
        ([1.0, 0, 1, 1], {"low": 0.5}, []),
        ([1.0, 0, 0, 0], {"low": 0.05}, [("warning", "scores", "image_top1")]),
        ([1.0, 0, 0, 0], {"low": 0.05, "name": "other"}, []),
        ([1.0, np.nan, 1, 1], {"low": 0.5}, [("error", "scores", "image_top1")]),
        ([1.0, 0, 1, 1], {"low": 0.5, "mean": 0.9}, [("error", "scores", "image_top1")]),
    ],
    ids=["sound", "chance", "not a headline", "NaN", "mean"],
)
def test_scores_are_finite_above_chance_and_what_their_images_give(
    scored, wrong, values, given, expected
):
    assert wrong(scored(values, **given)) == expected
