"""The published pipeline from end to end: every network of its real class, at golden sizes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from mindeye2 import Decoder, load
from mindeye2.app import TrialView
from mindeye2.cli import app
from mindeye2.core.errors import ArtifactError
from mindeye2.released.folder import ReleasedPipeline
from mindeye2.reporting.strip import strip_html

CPU = torch.device("cpu")
N_VOXELS = 15_724


def test_the_command_reconstructs_images_and_captions_with_published_files(
    weights, data, settings, tmp_path
):
    config = tmp_path / "settings.yaml"
    config.write_text(json.dumps(settings.model_dump(mode="json")))
    out = tmp_path / "out"
    options = {"source": data, "init": weights, "out": out, "config": config, "device": "cpu"}
    args = [str(a) for name, value in options.items() for a in (f"--{name}", value)]
    extra = ["--set", "keep_lowlevel=true", "--set", "n_bank=3"]
    app(["reconstruct", *args, *extra], standalone_mode=False)
    items = pd.read_parquet(out / "items.parquet")
    assert items["n_repeats"].tolist() == [3, 2]
    assert all("word" in caption for caption in items["caption"])
    for name, side in (("unclip", 32), ("refined", 32), ("blended", 32), ("lowlevel", 32)):
        assert np.load(out / f"{name}.npy").shape == (2, side, side, 3)
    tokens = load_file(out / "tokens.safetensors")
    assert tokens["lowlevel_latents"].shape == (2, 4, 28, 28)
    assert tokens["training_true"].shape == (3, 16, 24)


@pytest.mark.slow
def test_the_command_runs_on_a_device_that_is_not_the_cpu(weights, data, settings, tmp_path):
    config = tmp_path / "settings.yaml"
    config.write_text(json.dumps(settings.model_dump(mode="json")))
    script = Path(__file__).parents[1] / "second_device.py"
    for device in ("cpu", "second"):
        options = {"source": data, "init": weights, "config": config, "device": device}
        args = [str(a) for name, value in options.items() for a in (f"--{name}", value)]
        command = [sys.executable, script, "reconstruct", *args, "--out", tmp_path / device]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr[:9000]
    pair = [tmp_path / device for device in ("cpu", "second")]
    cpu, second = (load_file(d / "tokens.safetensors") for d in pair)
    for name, value in cpu.items():
        torch.testing.assert_close(second[name], value, rtol=1e-3, atol=1e-3, msg=name)
    blended = [np.load(d / "blended.npy").astype(float) for d in pair]
    assert np.abs(blended[0] - blended[1]).max() <= 2


@torch.no_grad()
def test_outputs_of_single_trials_are_averaged_over_any_number_of_repeats(weights, settings, data):
    decoder = Decoder.from_released(weights, settings=settings, device="cpu")
    betas = torch.from_numpy(np.load(data / "betas" / "subj01.npy")[4:9]).float()
    nothing = torch.full((1, N_VOXELS), torch.nan)
    stacked = torch.stack([betas[:3], torch.cat([betas[3:], nothing])])
    seen = decoder._predictions(stacked, "subj01")
    single = ReleasedPipeline(weights, settings=settings, device=CPU).model(
        betas, subject="subj01"
    )
    for rows, row in ((slice(0, 3), 0), (slice(3, 5), 1)):
        mean = single.retrieval_tokens[rows].mean(dim=0)
        torch.testing.assert_close(seen.retrieval[row], mean, rtol=1e-4, atol=1e-5)


def test_the_api_and_the_command_take_the_same_steps(weights, settings, data):
    betas = np.load(data / "betas" / "subj01.npy")[7:9].astype(np.float32)
    decoder = Decoder.from_released(weights, settings=settings, device="cpu")
    decoded = decoder.decode(betas[None], subject="subj01")
    assert decoder.subjects == ["subj01"]
    assert decoded.images.shape == (1, 32, 32, 3)
    assert decoded.lowlevel.shape == (1, 32, 32, 3)
    assert "word" in decoded.captions[0]
    again = decoder.decode(betas[None], subject="subj01")
    assert np.array_equal(decoded.images, again.images)


def test_the_page_shows_what_published_weights_decode(weights, settings, data):
    decoder = Decoder.from_pretrained(weights, settings=settings, device="cpu")
    chosen = {"prior_samples": 1, "prior_steps": 3, "lowlevel_weight": 0.25}
    html, warned = TrialView(decoder, data).decode(
        "subj01", 1, None, n_candidates=1, n_repeats=2, **chosen
    )
    test = load(data)
    decoded = decoder.with_settings(**chosen).decode(test.betas[1:, :2], subject="subj01")
    seen = {"seen": test.images[1:], "reconstruction": decoded.images}
    shown = strip_html({**seen, "low-level": decoded.lowlevel}, decoded.captions)
    assert html.startswith(shown)
    assert html.count("<img") == 3 + 2
    assert warned == []


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            "image_decoder",
            r"holds \['mindeye'\], but 'unclip' is needed here: 'mindeye2 import FILE",
        ),
        ("lowlevel_decoder", r"'lowlevel_vae' is needed here.*--set images=false"),
        ("captioner", r"'clip_converter' is needed here.*--set captions=false"),
    ],
)
def test_a_missing_network_is_named_with_the_setting_that_skips_it(alone, settings, part, message):
    pipeline = ReleasedPipeline(alone, settings=settings, device=CPU)
    with pytest.raises(ArtifactError, match=message):
        getattr(pipeline.networks, part)


def test_networks_that_the_settings_skip_are_not_loaded(alone, settings):
    less = settings.model_copy(update={"captions": False, "refine": None})
    pipeline = ReleasedPipeline(alone, settings=less, device=CPU)
    assert pipeline.networks.captioner is None
    assert pipeline.networks.refiner is None


def test_subjects_that_are_not_nsd_s_are_named_by_a_setting(weights, settings):
    named = settings.model_copy(update={"ridges": ("anna",)})
    assert ReleasedPipeline(weights, settings=named, device=CPU).model.subjects == ["anna"]


def test_the_image_decoder_may_be_in_another_folder(weights, settings):
    apart = settings.model_copy(update={"decoder": weights / "unclip"})
    pipeline = ReleasedPipeline(weights / "brain", settings=apart, device=CPU)
    assert pipeline.networks.image_decoder.sampling.steps == 2


def test_a_published_name_is_found_in_weights_with_the_other_networks(
    weights, settings, tmp_path, monkeypatch
):
    name = "final_subj01_pretrained_40sess_24bs"
    shutil.copytree(weights, tmp_path / "weights")
    (tmp_path / "weights" / "brain").rename(tmp_path / "weights" / name)
    shutil.copytree(tmp_path / "weights" / name, tmp_path / "weights" / "another_brain")
    monkeypatch.chdir(tmp_path)
    decoder = Decoder.from_released(name, settings=settings, device="cpu")
    assert decoder.subjects == ["subj01"]
    assert decoder._pipeline.networks.image_decoder.sampling.steps == 2


def test_a_published_name_without_folder_is_refused_with_the_command_that_downloads_it(
    settings, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    name = "final_subj01_pretrained_40sess_24bs"
    with pytest.raises(ArtifactError, match=rf"'mindeye2 import --released {name} --out weights"):
        Decoder.from_released(name, settings=settings, device="cpu")
    with pytest.raises(ArtifactError, match=r"neither a folder .* nor a published name"):
        Decoder.from_released("final_subj9", settings=settings, device="cpu")


def test_a_folder_without_a_brain_decoder_is_refused(weights, settings):
    with pytest.raises(ArtifactError, match=r"holds \['unclip'\], but 'mindeye' is needed here"):
        ReleasedPipeline(weights / "unclip", settings=settings, device=CPU)


def command(name_of, *positional, **options):
    """Run a command of the package; a list is repeated."""
    args = [name_of, *map(str, positional)]
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            args += [f"--{name}", str(one)]
    assert not app(args, standalone_mode=False), args  # the exit code


def scored(source, name, tmp_path):
    """Evaluate and report a folder; return its scores and its page."""
    scores, page = tmp_path / f"{name}-scores", tmp_path / f"{name}-page"
    few = ["extractor_size=64", "n_resamples=100"]
    command("evaluate", source=source, out=scores, set=few)
    command("report", source=scores, out=page)
    return pd.read_parquet(scores / "scores.parquet"), (page / "index.html").read_text()


@pytest.mark.slow
def test_published_files_are_imported_adapted_decoded_scored_and_reported(
    files, data, more_data, settings, tmp_path
):
    weights = tmp_path / "weights"
    for name, file in (
        ("brain", "last.pth"),
        ("unclip", "unclip6.ckpt"),
        ("lowlevel", "sd_image_var_autoenc.pth"),
        ("converter", "bigG_to_L.pth"),
    ):
        command("import", files / file, out=weights / name, set="head_channels=8")
    config = tmp_path / "settings.yaml"
    config.write_text(json.dumps(settings.model_dump(mode="json")))
    given = {"source": data, "config": config, "device": "cpu"}
    command("reconstruct", init=weights, out=tmp_path / "decoded", set="n_bank=3", **given)

    epochs = ["epochs=2", "steps_per_epoch=1", "per_subject=4", "losses.maps=0"]
    levels = ["subject=subj01", "batch_size=4", "ridge.steps=2", "full.steps=2"]
    for recipe, source, few in (("released_adapt", data, epochs), ("adapt", more_data, levels)):
        run, own = tmp_path / f"{recipe}-run", {"source": source, "device": "cpu"}
        changes = [*few, "train_on=[train]"]
        command("train", recipe=recipe, init=weights / "brain", out=run, set=changes, **own)
    # Decoding of fine-tuned runs: tests/end_to_end/test_nsd.py.
    decoding = {**own, "config": config, "set": f"decoder={weights}"}
    command("reconstruct", init=run, out=tmp_path / "adapt", **decoding)

    for name in ("decoded", "adapt"):
        items = pd.read_parquet(tmp_path / name / "items.parquet")
        assert all("word" in caption for caption in items["caption"])
        table, page = scored(tmp_path / name, name, tmp_path)
        assert {"pixcorr_refined", "pixcorr_blended", "image_top1_retrieval_head"} <= set(table)
        for title in ("Refined", "unCLIP", "Low-level", "Reconstruction"):
            assert f">{title}<" in page, (name, title)
        assert Path(tmp_path / name / "refined.npy").exists()
        assert np.isfinite(table.to_numpy(float)).all()
