"""NSD's files to a page of scores and to released weights, by commands alone.

Networks are of the published classes with few weights, files in the published layouts.
"""

import importlib.util
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from mindeye2.cli import app
from mindeye2.metrics.catalogue import CAPTION_SCORES


def fixtures_of(name):
    """Return the fixtures of another folder of tests."""
    path = Path(__file__).parents[1] / name / "conftest.py"
    spec = importlib.util.spec_from_file_location(f"{name}-fixtures", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


published = fixtures_of("released")
golden_case, files, git, settings = (
    getattr(published, name) for name in ("golden_case", "files", "git", "settings")
)
nsd, judging = fixtures_of("data/nsd"), fixtures_of("stages/evaluate")
original, networks, torchvision_files = nsd.original, judging.networks, judging.torchvision_files

WIDTH = 104  # of tokens: a head of OpenCLIP bigG
FEW = {
    "model.n_tokens": 16,
    "model.n_features": WIDTH,
    "model.n_latent": 12,
    "model.n_blocks": 1,
    "model.prior.depth": 1,
    "model.prior.n_heads": 2,
    "model.prior.head_width": 52,
    "epochs": 2,
    "steps_per_epoch": 2,
    "warmup_epochs": 1,
    "per_subject": 4,
}


def command(*words, **options):
    """Run a command of the package."""
    words = [*words, *(w for name, value in options.items() for w in (f"--{name}", value))]
    assert not app(list(map(str, words)), standalone_mode=False), words


def assigned(values):
    return [w for name, value in values.items() for w in ("--set", f"{name}={value}")]


def n_voxels(data):
    return json.loads((data / "manifest.json").read_text())["subjects"]["subj01"]


def score_as_published(decoded, networks, out):
    """Score every column of the paper's tables for every image."""
    chosen = {"protocol": "mindeye2-2024-first-caption", "networks": networks, "n_resamples": 100}
    command("evaluate", *assigned(chosen), source=decoded, out=out, device="cpu")
    table = pd.read_parquet(out / "scores.parquet")
    images = ("pixcorr", "ssim", "alexnet2", "alexnet5", "inception", "clip", "effnet", "swav")
    per_image = [*images, "brain_correlation_V1"]
    kinds = ("unclip", "refined", "blended", "lowlevel")
    wanted = {f"{name}_{kind}" for name in per_image for kind in kinds}
    wanted |= {f"{name}_{k}" for name in CAPTION_SCORES for k in ("coco", "git", "git_coco")}
    wanted |= {"image_given_brain_300", "brain_given_image_300"}
    assert wanted <= set(table)
    assert np.isfinite(table[[*wanted]].to_numpy(float)).all()


@pytest.fixture(scope="module")
def weights(files, fill, golden_case, tmp_path_factory):
    """Return the folder of imported networks, with the image tower in unCLIP's file."""
    from open_clip.transformer import VisionTransformer

    from mindeye2.encoders.convnext import build_convnext_teacher

    folder = tmp_path_factory.mktemp("weights")
    tower = VisionTransformer(224, 56, WIDTH, layers=1, heads=1, mlp_ratio=1, output_dim=20)
    state = {f"conditioner.embedders.0.model.visual.{n}": v for n, v in tower.state_dict().items()}
    shapes = golden_case("unclip")[0]["state_dict"]
    contexts = {
        n: [s[0], WIDTH]
        for n, s in shapes.items()
        if n.endswith(("to_k.weight", "to_v.weight")) and s[1] == 24
    }
    torch.save({"state_dict": state | fill(shapes | contexts)}, folder / "unclip6.ckpt")
    teacher = build_convnext_teacher(
        depths=(1, 1, 1, 1), widths=(4, 4, 4, 8), projector=(8, 8, 512)
    )
    torch.save({"model": teacher.state_dict()}, folder / "convnext.pth")
    converter = {"linear1.weight": (17, 16), "linear2.weight": (24, WIDTH)}
    converter |= {"linear1.bias": (17,), "linear2.bias": (24,)}
    torch.save(fill(converter), folder / "bigG_to_L.pth")
    for name, file in {
        "unclip": folder / "unclip6.ckpt",
        "convnext": folder / "convnext.pth",
        "converter": folder / "bigG_to_L.pth",
        "lowlevel": files / "sd_image_var_autoenc.pth",
    }.items():
        command("import", file, "--set", "head_channels=8", out=folder / "imported" / name)
    return folder / "imported"


@pytest.fixture
def judges(networks, torchvision_files, tmp_path):
    """Return a function that gives a folder of the paper's networks, GNet's for some subject."""

    def _judges(subject, n_voxels):
        folder = tmp_path / "judges"
        folder.mkdir()
        for file in (*networks.iterdir(), *torchvision_files.iterdir()):
            # The tower of the published gallery has another width than these tokens.
            if file.name not in {"gnet", "clip_tokens"}:
                # nltk reads nothing behind a link.
                copy = shutil.copytree if file.is_dir() else os.link
                copy(file, folder / file.name)
        judging.save_gnet(folder / "gnet", subject=subject, n_voxels=n_voxels)
        return folder

    return _judges


@pytest.mark.slow
def test_nsd_is_prepared_learned_decoded_scored_and_exported(
    original, weights, judges, settings, tmp_path
):
    data, tuned = tmp_path / "data", tmp_path / "tuned"
    sources = {"bigg": "unclip", "sd-latents": "lowlevel"}
    sources |= {"convnext": "convnext", "convnext-augmented": "convnext"}
    encoders = {"encoders": f"[{','.join(sources)}]", "nsd.image_size": 64}
    nsd.write_captions(tmp_path / "captions", original, range(73_000))
    encoders["nsd.captions"] = tmp_path / "captions"
    encoders |= {f"encoder_weights.{n}": weights / folder for n, folder in sources.items()}
    command("prepare", "nsd", *assigned(encoders), source=original.root, out=data, device="cpu")

    given = {"source": data, "device": "cpu"}
    changes = assigned({**FEW, "subjects": "[subj04]"})
    command("train", *changes, recipe="released", out=tmp_path / "pretrained", **given)
    lines = (tmp_path / "pretrained" / "steps.jsonl").read_text().splitlines()
    assert all({"prior", "contrastive", "lowlevel", "maps"} < set(json.loads(x)) for x in lines)
    few = {"epochs": 1, "steps_per_epoch": 2, "warmup_epochs": 0.5, "per_subject": 4}
    changes = assigned({**few, "sessions": "[1]"})
    start = {"recipe": "released_adapt", "init": tmp_path / "pretrained"}
    command("train", *changes, **start, out=tuned, **given)

    config = tmp_path / "settings.yaml"
    config.write_text(json.dumps(settings.model_dump(mode="json")))
    decoding = ["--set", "n_images=2", "--set", f"decoder={weights}"]
    decoded, scores = tmp_path / "decoded", tmp_path / "scores"
    command("reconstruct", *decoding, init=tuned, out=decoded, config=config, **given)
    for name in ("unclip", "refined", "blended", "lowlevel"):
        assert np.load(decoded / f"{name}.npy").shape == (2, 32, 32, 3)
    quick = assigned({"extractor_size": 64, "n_resamples": 100})
    command("evaluate", *quick, source=decoded, out=scores)
    assert np.isfinite(pd.read_parquet(scores / "scores.parquet").to_numpy(float)).all()
    command("report", source=scores, out=tmp_path / "page")
    assert "Natural Scenes Dataset" in (tmp_path / "page" / "index.html").read_text()

    score_as_published(decoded, judges("subj01", n_voxels(data)), tmp_path / "paper")

    file, imported, again = (tmp_path / n for n in ("last.safetensors", "imported", "again"))
    command("export", tuned, out=file)
    command("import", file, out=imported)
    # Its numbers of voxels are not NSD's, by which a published checkpoint tells its subjects.
    named = ["--set", "ridges=[subj01]", "--set", "n_bank=3"]
    command("reconstruct", *decoding, *named, init=imported, out=again, config=config, **given)
    run, weights_again = (load_file(f / "tokens.safetensors") for f in (decoded, again))
    for name in ("backbone", "retrieval", "prior", "true"):
        assert torch.equal(run[name], weights_again[name]), name
    assert (decoded / "blended.npy").read_bytes() == (again / "blended.npy").read_bytes()
