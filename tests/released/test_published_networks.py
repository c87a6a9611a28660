"""Runs that were trained on bigG tokens: decoded, captioned and refined by published networks."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from mindeye2 import Decoder
from mindeye2.cli import app
from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.generation.decoders import load_autoencoder, shipped_decoder
from mindeye2.generation.sd.sdxl import Sdxl
from mindeye2.generation.sd.sdxl_files import attend_to, load_base, save_sdxl
from mindeye2.models.checkpoint import save_run
from mindeye2.models.decoder import build_mindeye
from mindeye2.models.model_settings import LowLevelSettings, ModelSettings, PriorSettings
from mindeye2.models.training_bank import TrainingBank, save_training_bank
from mindeye2.released.folder import open_pipeline

CPU = torch.device("cpu")
N_VOXELS = 15_724


@pytest.fixture
def make_run(tmp_path, data):
    """Return a function that makes a run of an encoder and a number of low-level channels."""

    def make(encoder="bigg", channels=4, side=28):
        sizes = ModelSettings(
            n_tokens=16,
            n_features=24,
            n_latent=8,
            lowlevel=LowLevelSettings(channels=channels, size=side),
            prior=PriorSettings(depth=1, n_heads=2, head_width=4),
        )
        folder = tmp_path / f"run-{encoder}-{channels}"
        folder.mkdir()
        save_run(
            folder,
            model=build_mindeye(sizes, {"subj01": N_VOXELS}),
            settings=sizes,
            encoder=encoder,
        )
        bank = TrainingBank(
            images=torch.arange(4),
            preds=torch.randn(4, 16, 24),
            targets=torch.from_numpy(np.load(data / "targets/bigg/values.npy")[:4]).float(),
            captions=["a cat", "a dog", "a bus", "a cup"],
        )
        save_training_bank(folder, "subj01", bank)
        write_manifest(folder, stage="train", config={"recipe": "standard", "seed": 0})
        return folder

    return make


def test_the_command_decodes_captions_and_refines_a_run_on_bigg_tokens(
    make_run, weights, data, settings, tmp_path
):
    config = tmp_path / "settings.yaml"
    config.write_text(json.dumps(settings.model_dump(mode="json")))
    options = {"source": data, "init": make_run(), "out": tmp_path / "out", "config": config}
    args = [str(a) for name, value in options.items() for a in (f"--{name}", value)]
    extra = ["--device", "cpu", "--set", f"decoder={weights}"]
    app(["reconstruct", *args, *extra], standalone_mode=False)
    items = pd.read_parquet(tmp_path / "out" / "items.parquet")
    assert all("word" in caption for caption in items["caption"])
    for name in ("unclip", "refined", "lowlevel", "blended"):
        assert np.load(tmp_path / "out" / f"{name}.npy").shape == (2, 32, 32, 3), name


def test_captions_may_be_those_of_the_nearest_training_images(make_run, weights, data, settings):
    near = settings.model_copy(update={"captioner": "nearest", "refine": None})
    decoder = Decoder.from_run(make_run(), decoder=weights, settings=near, device="cpu")
    betas = np.load(data / "betas" / "subj01.npy")[7:9].astype(np.float32)
    decoded = decoder.decode(betas[None], subject="subj01")
    assert decoded.images.shape == (1, 32, 32, 3)
    assert set(decoded.captions) <= {"a cat", "a dog", "a bus", "a cup"}


def test_low_level_latents_are_decoded_by_the_autoencoder_that_they_are_of(
    make_run, weights, settings, rng
):
    apart = settings.model_copy(update={"decoder": weights, "refine": None, "captions": False})
    latents = torch.randn(1, 64, 7, 7, generator=rng)
    pipeline = open_pipeline(make_run(channels=64, side=7), settings=apart, device=CPU)
    pipeline.load()
    expected = load_autoencoder(shipped_decoder()).decode(latents)
    assert torch.equal(pipeline.networks.decode_lowlevel(latents), expected)


def test_published_networks_are_refused_for_other_tokens(make_run, weights, settings):
    apart = settings.model_copy(update={"decoder": weights})
    message = "take tokens of 'bigg', but the run predicts tokens of 'lite0'"
    with pytest.raises(ArtifactError, match=message):
        open_pipeline(make_run("lite0"), settings=apart, device=CPU)
    pipeline = open_pipeline(make_run("bigg-clean"), settings=apart, device=CPU)
    with pytest.raises(ArtifactError, match=r"trained on tokens of 'bigg', but .*'bigg-clean'"):
        pipeline.load()


def test_a_run_on_bigg_tokens_without_networks_is_refused_with_the_setting_that_names_them(
    make_run, settings
):
    plain = settings.model_copy(
        update={"refine": None, "captioner": "nearest", "sampling": type(settings.sampling)()}
    )
    run = make_run()
    pipeline = open_pipeline(run, settings=plain, device=CPU)
    with pytest.raises(ArtifactError, match=r"24 features .*imported unCLIP with --set decoder="):
        pipeline.load()
    with pytest.raises(ValueError, match=r"'refine'.* imported networks with --set decoder="):
        open_pipeline(run, settings=settings, device=CPU)


@pytest.fixture
def trained_unclip(tiny_base, tmp_path):
    """Return a function that writes an SDXL unCLIP as training does, of an encoder's tokens."""

    def write(encoder):
        folder = tmp_path / f"unclip-{encoder}"
        folder.mkdir()
        unet, vae = load_base(str(tiny_base))
        unet = attend_to(unet, n_features=24, vector_width=32)
        save_sdxl(folder, Sdxl(unet=unet, vae=vae, size_width=8), dtype=torch.float32)
        write_manifest(folder, stage="train", config={"encoder": encoder})
        return folder

    return write


def test_an_unclip_of_one_s_own_decodes_tokens_of_the_encoder_that_it_was_trained_on(
    make_run, trained_unclip, settings, rng
):
    own = trained_unclip("bigg-clean")
    few = settings.model_copy(update={"decoder": own, "refine": None, "captioner": "nearest"})
    pipeline = open_pipeline(make_run("bigg-clean", channels=64, side=7), settings=few, device=CPU)
    pipeline.load()
    tokens = torch.randn(1, 16, 24, generator=rng)
    assert pipeline.networks.decode_images(tokens, seeds=[0]).shape == (1, 3, 64, 64)
    with pytest.raises(ArtifactError, match=r"trained on tokens of 'bigg-clean', but .*'bigg'"):
        open_pipeline(make_run("bigg"), settings=few, device=CPU).load()


def test_published_weights_take_an_unclip_of_one_s_own_and_the_networks_beside_them(
    trained_unclip, weights, settings
):
    own = settings.model_copy(update={"decoder": trained_unclip("bigg"), "refine": None})
    pipeline = open_pipeline(weights / "brain", settings=own, device=CPU)
    pipeline.load()  # captioner and low-level autoencoder were imported beside the brain decoder
    assert pipeline.networks.image_decoder.size_width == 8
