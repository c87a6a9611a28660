"""What every test may use. Nothing happens at import."""

import os

import pytest


def pytest_configure():
    # Before anything imports torch: more threads than this make tiny tensors slower, not faster.
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    # A test that reaches for a hub fails at once, also where there is a network.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture
def rng():
    """Return a seeded generator; the same for each test, whatever ran before."""
    import torch

    return torch.Generator().manual_seed(0)


def _reseal(run, manifest):
    """Write the manifest of a run whose files were changed on purpose."""
    from mindeye2.core.artifacts import write_manifest

    sealed = {"schema", "stage", "mindeye2", "config", "files"}
    facts = {key: value for key, value in manifest.items() if key not in sealed}
    write_manifest(run, stage="train", config=manifest["config"], **facts)


@pytest.fixture
def reseal():
    """Return a function that writes the manifest of a run whose files were changed."""
    return _reseal


@pytest.fixture
def plant_whitening(rng, reseal):
    """Return a function that gives a run a forward model with a whitening, and its two maps."""

    def _plant(run):
        import torch

        from mindeye2.core.artifacts import read_manifest
        from mindeye2.models.checkpoint import load_run
        from mindeye2.models.forward_model import ForwardModel

        manifest = read_manifest(run, stage="train")
        output = load_run(run).model.backbone.output
        W, mean = output.weight.detach(), output.bias.detach()
        n = W.shape[1]
        weights, bias = torch.randn(n, n, generator=rng) / n, torch.randn(n, generator=rng)
        whitening = torch.randn(n, 5, generator=rng)
        axes = {"mean": mean, "components": W, "weights": weights, "bias": bias}
        ForwardModel(**axes, whitening=whitening).save(run)
        reseal(run, manifest)

        def expect(true):
            decoded = ((true.flatten(1) - mean) @ W @ weights + bias) @ W.T + mean
            return decoded.view(true.shape)

        return expect, lambda tokens: (tokens.flatten(1) - mean) @ W @ whitening

    return _plant


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """Return the folder of an SDXL base model of tiny networks, in diffusers' layout."""
    import json

    from mindeye2.core.runtime import process_rng
    from mindeye2.core.torchvision_operators import declare_torchvision_operators

    declare_torchvision_operators()
    import diffusers
    import transformers

    folder = tmp_path_factory.mktemp("base")
    letters = "abcdefghijklmnopqrstuvwxyz,"
    ends = ("<|startoftext|>", "<|endoftext|>")
    vocabulary = [*letters, *(letter + "</w>" for letter in letters), *ends]
    numbered = {piece: i for i, piece in enumerate(vocabulary)}
    (folder / "vocab.json").write_text(json.dumps(numbered))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = (str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer = transformers.CLIPTokenizer(*files, model_max_length=20)
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = transformers.CLIPTextConfig(
        **sizes,
        vocab_size=len(numbered),
        intermediate_size=16,
        max_position_embeddings=20,
        projection_dim=8,
        bos_token_id=numbered[ends[0]],
        eos_token_id=numbered[ends[1]],
    )
    with process_rng(0, "base"):
        pipe = diffusers.StableDiffusionXLPipeline(
            vae=diffusers.AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                block_out_channels=(32,) * 4,
                layers_per_block=1,
            ),
            text_encoder=transformers.CLIPTextModel(text),
            text_encoder_2=transformers.CLIPTextModelWithProjection(text),
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            unet=diffusers.UNet2DConditionModel(
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                block_out_channels=(32, 64),
                layers_per_block=1,
                transformer_layers_per_block=[1, 1],
                attention_head_dim=[2, 4],
                cross_attention_dim=16,
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=8 + 6 * 8,
            ),
            scheduler=diffusers.EulerDiscreteScheduler(),
            add_watermarker=False,
        )
    pipe.save_pretrained(folder / "sdxl")
    return folder / "sdxl"


@pytest.fixture(scope="session")
def fill():
    """Return the function that gives each released name and shape its weights."""
    import zlib

    import numpy as np
    import torch

    def fill(shapes, keep=()):
        state = {}
        for key, shape in shapes.items():
            if key in keep:
                continue
            seeded = np.random.RandomState(zlib.crc32(key.encode()))
            w = seeded.standard_normal(tuple(shape)).astype(np.float32)
            if len(shape) >= 2:
                w *= 1 / np.sqrt(np.prod(shape[1:]))
            else:
                w = 0.1 * w + (1.0 if key.endswith((".weight", ".g", ".gamma")) else 0.0)
            state[key] = torch.from_numpy(np.asarray(w, dtype=np.float32))
        return state

    return fill


@pytest.fixture(scope="session")
def untrained_run(tmp_path_factory):
    """Return the folder of an untrained run, which holds an untrained image decoder too."""
    import torch
    import yaml
    from safetensors.torch import save_file

    from mindeye2.core.artifacts import write_manifest
    from mindeye2.core.runtime import process_rng
    from mindeye2.core.settings import plain
    from mindeye2.generation.autoencoder import AutoencoderSettings, build_autoencoder
    from mindeye2.generation.unclip import UnclipSettings, build_unclip
    from mindeye2.models.checkpoint import save_run
    from mindeye2.models.decoder import build_mindeye
    from mindeye2.models.model_settings import LowLevelSettings, ModelSettings, PriorSettings
    from mindeye2.models.training_bank import TrainingBank, save_training_bank

    folder = tmp_path_factory.mktemp("run")
    sizes = ModelSettings(
        n_latent=8,
        n_blocks=1,
        lowlevel=LowLevelSettings(channels=4, size=7),
        prior=PriorSettings(depth=1, n_heads=2, head_width=8),
    )
    chosen = {
        "autoencoder": AutoencoderSettings(latent_channels=4, widths=(4, 4, 4), n_blocks=1),
        "unclip": UnclipSettings(latent_channels=4, widths=(32,), sampling_steps=2),
    }
    with process_rng(0, "model"):
        model = build_mindeye(sizes, {"subj01": 30}).eval()
        autoencoder = build_autoencoder(chosen["autoencoder"])
        unclip = build_unclip(chosen["unclip"], autoencoder)
        with torch.no_grad():  # a new prior adds nothing to its condition
            for weight in model.prior.parameters():
                weight.add_(0.1 * torch.randn_like(weight))
    save_file(autoencoder.state_dict(), folder / "autoencoder.safetensors")
    save_file(unclip.own_state(), folder / "unclip.safetensors")
    for name, settings in chosen.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(plain(settings)))
    save_run(folder, model=model, settings=sizes, encoder="lite0")
    preds, targets = torch.randn(2, 15, 49, 128, generator=torch.Generator().manual_seed(1))
    bank = TrainingBank(
        images=torch.arange(15),
        preds=preds,
        targets=targets,
        captions=[f"image {i}" for i in range(15)],
    )
    save_training_bank(folder, "subj01", bank)
    write_manifest(folder, stage="train", config={"task": "shared"})
    return folder


@pytest.fixture(scope="session")
def four_images(tmp_path_factory):
    """Return a data set of four test images with two repeats of one subject."""
    import numpy as np
    import pandas as pd

    from mindeye2.core.artifacts import write_manifest

    folder = tmp_path_factory.mktemp("prepared-data")
    (folder / "betas").mkdir()
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 256, (6, 64, 64, 3), np.uint8))
    np.save(folder / "betas" / "subj01.npy", rng.normal(size=(12, 30)).astype(np.float16))
    split = ["train", "test", "test", "test", "test", "train"] * 2
    trials = pd.DataFrame({"subject": "subj01", "image": [*range(6)] * 2, "split": split})
    trials.to_parquet(folder / "trials.parquet")
    write_manifest(folder, stage="prepare", config={}, subjects={"subj01": 30})
    return folder
