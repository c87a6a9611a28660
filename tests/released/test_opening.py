"""Runs and imported weights, opened alike, and trained on."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from mindeye2.cli import app
from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.released import export_mindeye, load_mindeye, open_brain_decoder

N_VOXELS = 15_724  # by which a checkpoint of NSD's subject 1 is known
TINY = {
    "model.n_tokens": 16,
    "model.n_features": 24,
    "model.n_latent": 12,
    "model.n_blocks": 1,
    "model.prior.depth": 1,
    "model.prior.n_heads": 2,
    "model.prior.head_width": 12,
    "per_subject": 4,
    "epochs": 2,
    "steps_per_epoch": 2,
    "warmup_epochs": 1,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a prepared data set of three subjects with targets of the released encoders."""
    from mindeye2.core.artifacts import write_manifest

    folder, rng = tmp_path_factory.mktemp("released") / "data", np.random.default_rng(0)
    shapes = {
        "bigg": (16, 24),
        "sd-latents": (4, 28, 28),
        "convnext": (49, 512),
        "convnext-augmented": (49, 512),
    }
    for name in ("", "betas", "voxels", *(f"targets/{n}" for n in shapes)):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, shape in shapes.items():
        values = rng.standard_normal((40, *shape)).astype(np.float16)
        np.save(folder / "targets" / name / "values.npy", values)
    np.save(folder / "images.npy", rng.integers(0, 256, (40, 32, 32, 3), np.uint8))
    voxels = {"subj01": N_VOXELS, "subj02": 50, "subj05": 61}
    tables = []
    for subject, n in voxels.items():
        betas = rng.standard_normal((40, n)).astype(np.float16)
        np.save(folder / "betas" / f"{subject}.npy", betas)
        pd.DataFrame({"i": range(n)}).to_parquet(folder / "voxels" / f"{subject}.parquet")
        table = pd.DataFrame({"image": range(40), "source_image": range(40), "trial": range(40)})
        table = table.assign(subject=subject, session=1, run=1, repeat=0)
        table["split"] = ["train"] * 28 + ["validation"] * 4 + ["test"] * 8
        tables.append(table)
    pd.concat(tables).to_parquet(folder / "trials.parquet")
    write_manifest(folder, stage="prepare", config={}, subjects=voxels, label="", simulated=False)
    return folder


def command(*args, **options):
    words = [str(w) for name, value in options.items() for w in (f"--{name}", value)]
    app([*map(str, args), *words], standalone_mode=False)


def settings(**changes):
    values = {**TINY, **changes}
    return [w for k, v in values.items() for w in ("--set", f"{k}={v}")]


@pytest.fixture(scope="module")
def pretrained(data):
    """Return a run of the released recipe on two subjects."""
    out = data.parent / "pretrained"
    subjects = settings(subjects="[subj02, subj05]")
    command("train", *subjects, recipe="released", source=data, out=out, device="cpu")
    return out


def test_the_released_recipe_trains_every_part_but_the_dead_ones(pretrained):
    lines = [json.loads(x) for x in (pretrained / "steps.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    assert {"loss", "prior", "contrastive", "lowlevel", "maps"} < set(lines[0])
    assert lines[1]["lr"] == pytest.approx(3e-4)


@pytest.fixture(scope="module")
def tuned(data, pretrained):
    """Return the released fine-tuning for subj01."""
    out, length = data.parent / "tuned", {"epochs": 1, "steps_per_epoch": 1}
    few = [w for k, v in length.items() for w in ("--set", f"{k}={v}")]
    few += ["--set", "warmup_epochs=0.5", "--set", "per_subject=4"]
    given = {"source": data, "init": pretrained, "out": out, "device": "cpu"}
    command("train", *few, recipe="released_adapt", **given)
    return out


def test_fine_tuning_starts_from_the_pretrained_model(pretrained, tuned):
    """One step moves a weight by the learning rate at most; the first subject's bias is kept."""
    before = load_file(pretrained / "model.safetensors")
    after = load_file(tuned / "model.safetensors")
    kept = [n for n in after if not n.startswith("ridge.")]
    assert all((after[n] - before[n]).abs().max() < 1e-3 for n in kept)
    assert {n for n in after if n.startswith("ridge.")} == {
        "ridge.maps.subj01.weight",
        "ridge.maps.subj01.bias",
    }
    bias = after["ridge.maps.subj01.bias"] - before["ridge.maps.subj02.bias"]
    assert bias.abs().max() < 1e-3
    config = read_manifest(tuned, stage="train")["config"]
    assert config["recipe"] == "released_adapt"
    described = yaml.safe_load((tuned / "model.yaml").read_text())
    assert (described["encoder"], described["model"]["n_latent"]) == ("bigg", 12)


@pytest.fixture(scope="module")
def imported(data, tuned):
    """Return the fine-tuned run, exported and imported again as published weights are."""
    file, out = data.parent / "exported.safetensors", data.parent / "imported"
    command("export", tuned, out=file)
    command("import", file, out=out)
    return out


def test_a_run_and_its_export_imported_again_are_the_same_model(tuned, imported, rng):
    run, weights = open_brain_decoder(tuned), open_brain_decoder(imported)
    assert run.settings == weights.settings
    assert run.encoder == weights.encoder == "bigg"
    betas = torch.randn(3, N_VOXELS, generator=rng)
    with torch.no_grad():
        for name in ("backbone_tokens", "retrieval_tokens", "lowlevel_latents"):
            left, right = (getattr(m.model(betas, subject="subj01"), name) for m in (run, weights))
            assert torch.equal(left, right), name


def test_published_weights_are_adapted_to_a_new_subject(data, imported):
    """With their own targets, which nobody has to name."""
    out = data.parent / "adapted"
    few = ["--set", "subject=subj05", "--set", "ridge.steps=2", "--set", "full.steps=2"]
    few += ["--set", "batch_size=4"]
    given = {"source": data, "init": imported, "out": out, "device": "cpu"}
    command("train", *few, recipe="adapt", **given)
    decoder = open_brain_decoder(out)
    assert set(decoder.model.subjects) == {"subj01", "subj05"}
    assert decoder.encoder == "bigg"
    before = open_brain_decoder(imported).model.prior.state_dict()
    after = decoder.model.prior.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("level", ["ridge", "lora", "full"])
def test_an_adaptation_learns_through_the_prior_where_its_loss_has_a_weight(data, imported, level):
    out = data.parent / f"through-prior-{level}"
    few = ["--set", "subject=subj05", "--set", f"levels=[{level}]", "--set", f"{level}.steps=2"]
    few += ["--set", "batch_size=4", "--set", "losses.prior=30"]
    given = {"source": data, "init": imported, "out": out, "device": "cpu"}
    command("train", *few, recipe="adapt", **given)
    lines = [json.loads(x) for x in (out / "steps.jsonl").read_text().splitlines()]
    assert all(line["prior"] > 0 for line in lines)
    before, after = (open_brain_decoder(run).model.prior.state_dict() for run in (imported, out))
    assert before.keys() == after.keys()
    moved = not all(torch.equal(before[name], after[name]) for name in before)
    assert moved == (level != "ridge")


def test_a_folder_without_a_brain_decoder_is_refused(imported, tmp_path):
    other = shutil.copytree(imported, tmp_path / "other")
    (other / "mindeye.safetensors").rename(other / "gnet.safetensors")
    with pytest.raises(ArtifactError):
        open_brain_decoder(other)


def test_exported_names_load_strictly(tuned):
    model = open_brain_decoder(tuned).model
    again = load_mindeye(export_mindeye(model), subjects=model.subjects)
    assert set(again.state_dict()) == set(model.state_dict())
