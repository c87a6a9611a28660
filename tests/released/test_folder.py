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

from mindeye2 import Decoder
from mindeye2.cli import app
from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.core.torchvision_operators import declare_torchvision_operators
from mindeye2.generation.sd.pipeline import SdxlSampling
from mindeye2.generation.sd.refine import RefineSettings
from mindeye2.recipes import released
from mindeye2.released.folder import ReleasedPipeline, find_imported, is_released
from mindeye2.released.importing import ImportSettings, import_checkpoint

CPU = torch.device("cpu")
N_VOXELS = 15_724  # by which a checkpoint of NSD's subject 1 is known


@pytest.fixture(scope="module")
def files(tmp_path_factory, fill, golden_case):
    """Return the published files with weights that are functions of their names."""
    declare_torchvision_operators()
    from diffusers import AutoencoderKL

    folder = tmp_path_factory.mktemp("published")
    brain = golden_case("model")[0]["state_dict"]
    fixed = [k for k in brain if k.endswith("freqs") or "noise_scheduler" in k]
    shapes = {k: v for k, v in brain.items() if k not in fixed and "linears.1" not in k}
    shapes["ridge.linears.0.weight"] = [48, N_VOXELS]
    one = fill(shapes)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32,) * 4,
        layers_per_block=1,
    )
    shapes = {k: list(v.shape) for k, v in vae.state_dict().items()}
    converter = {"linear1": (17, 16), "linear2": (24, 24)}
    linears = {f"{n}.weight": s for n, s in converter.items()}
    linears |= {f"{n}.bias": s[:1] for n, s in converter.items()}
    unclip = fill(golden_case("unclip")[0]["state_dict"])
    torch.save({"model_state_dict": one}, folder / "last.pth")
    torch.save({"state_dict": unclip}, folder / "unclip6.ckpt")
    torch.save(fill(shapes), folder / "sd_image_var_autoenc.pth")
    torch.save(fill(linears), folder / "bigG_to_L.pth")
    return folder


@pytest.fixture(scope="module")
def weights(files):
    """Return a folder of imported files."""
    names = {"brain": "last.pth", "unclip": "unclip6.ckpt"}
    names |= {"lowlevel": "sd_image_var_autoenc.pth", "converter": "bigG_to_L.pth"}
    for name, file in names.items():
        settings = ImportSettings(head_channels=8)
        import_checkpoint(files / file, out=files / "imported" / name, settings=settings)
    return files / "imported"


@pytest.fixture
def alone(weights, tmp_path):
    """Return an imported brain decoder alone in its folder."""
    return Path(shutil.copytree(weights / "brain", tmp_path / "alone" / "brain"))


@pytest.fixture(scope="module")
def git(files, fill, golden_case):
    """Return the folder of a captioner with a vocabulary of a hundred words."""
    declare_torchvision_operators()
    from transformers import BertTokenizer, GitConfig, GitForCausalLM

    facts = golden_case("captioner")[0]
    network = GitForCausalLM(GitConfig(**facts["config"], vision_config=facts["vision_config"]))
    network.load_state_dict(fill(facts["state_dict"]), strict=False)
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *(f"word{i}" for i in range(97))]
    (files / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(files / "vocab.txt")).save_pretrained(files / "git")
    network.save_pretrained(files / "git")
    return files / "git"


@pytest.fixture(scope="module")
def data(files):
    """Return a prepared data set: six images, the last two are test images seen 3 and 2 times."""
    folder, rng = files / "data", np.random.default_rng(0)
    for name in ("", "betas", "voxels", "targets/bigg"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    shown = [0, 1, 2, 3, 4, 4, 4, 5, 5]
    np.save(folder / "images.npy", rng.integers(0, 256, (6, 48, 48, 3), np.uint8))
    np.save(folder / "betas" / "subj01.npy", rng.standard_normal((9, N_VOXELS)).astype(np.float16))
    tokens = rng.standard_normal((6, 16, 24)).astype(np.float16)
    np.save(folder / "targets" / "bigg" / "values.npy", tokens)
    table = pd.DataFrame({"image": shown, "source_image": shown, "trial": range(9)})
    table = table.assign(subject="subj01", session=1, run=1, repeat=0)
    table["split"] = ["train"] * 4 + ["test"] * 5
    table.to_parquet(folder / "trials.parquet")
    pd.DataFrame({"i": range(N_VOXELS)}).to_parquet(folder / "voxels" / "subj01.parquet")
    write_manifest(folder, stage="prepare", config={}, subjects={"subj01": N_VOXELS}, label="")
    return folder


@pytest.fixture
def settings(git, tiny_base):
    quick = {"model": str(tiny_base), "size": 64, "steps": 3, "last_sigmas": 2}
    changes = {
        "captioner": str(git),
        "sampling": SdxlSampling(steps=2, size=64),
        "refine": RefineSettings(**quick, negative_prompt="ugly"),
        "size": 32,
        "prior_steps": 3,
    }
    return released().model_copy(update=changes)


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


def test_an_import_and_a_folder_of_imports_are_recognised(weights, data, tmp_path):
    assert set(find_imported(weights)) == {"mindeye", "unclip", "lowlevel_vae", "clip_converter"}
    assert set(find_imported(weights / "unclip")) == {"unclip"}
    assert is_released(weights)
    assert is_released(weights / "brain")
    assert not any(is_released(p) for p in (data, weights / "unclip", tmp_path / "nowhere"))


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
        getattr(pipeline, part)


def test_networks_that_the_settings_skip_are_not_loaded(alone, settings):
    less = settings.model_copy(update={"captions": False, "refine": None})
    pipeline = ReleasedPipeline(alone, settings=less, device=CPU)
    assert pipeline.captioner is None
    assert pipeline.refiner is None


def test_subjects_that_are_not_nsd_s_are_named_by_a_setting(weights, settings):
    named = settings.model_copy(update={"ridges": ("anna",)})
    assert ReleasedPipeline(weights, settings=named, device=CPU).model.subjects == ["anna"]


def test_the_image_decoder_may_be_in_another_folder(weights, settings):
    apart = settings.model_copy(update={"decoder": weights / "unclip"})
    pipeline = ReleasedPipeline(weights / "brain", settings=apart, device=CPU)
    assert pipeline.image_decoder.sampling.steps == 2


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
    assert decoder._pipeline.image_decoder.sampling.steps == 2


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
