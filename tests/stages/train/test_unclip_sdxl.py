import json

import numpy as np
import pytest
import torch
from PIL import Image

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import InterruptedRun
from mindeye2.generation.sd.sdxl import Sdxl
from mindeye2.generation.sd.sdxl_files import attend_to, load_base, load_sdxl
from mindeye2.recipes import unclip_sdxl
from mindeye2.stages.train import train
from mindeye2.stages.train.unclip_sdxl import TokenCache, UnclipLoss, sample_noise
from mindeye2.training import loop
from mindeye2.training.optimizer import learning_rate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of five images."""
    made, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(5):
        pixels = random.integers(0, 256, (70, 64 + number, 3), np.uint8)
        Image.fromarray(pixels).save(made / f"{number}.png")
    return made


@pytest.fixture
def settings(tiny_base):
    quick = {"steps": 3, "ema_decay": 0.5}
    optimizer = unclip_sdxl().optimizer.model_copy(update=quick)
    changes = {"base": str(tiny_base), "encoder": "lite0", "size": 64, "batch_size": 2}
    return unclip_sdxl().model_copy(update={**changes, "optimizer": optimizer})


def test_a_trained_decoder_denoises_with_the_encoder_s_tokens(folder, settings, tmp_path):
    optimizer = settings.optimizer.model_copy(update={"checkpointing": True})
    cached = settings.model_copy(update={"cache_tokens": True, "optimizer": optimizer})
    train(cached, source=folder, out=tmp_path / "run", recipe="unclip_sdxl", device="cpu")
    sdxl = load_sdxl(tmp_path / "run")
    assert sdxl.unet.config["cross_attention_dim"] == 128
    vector = sdxl.size_vector(original_size=(64, 64))
    denoised = sdxl.denoise(
        torch.zeros(1, 4, 8, 8), torch.ones(1), torch.zeros(1, 49, 128), vector
    )
    assert denoised.isfinite().all()
    manifest = read_manifest(tmp_path / "run", stage="train")
    assert manifest["pictures"] == 5
    assert not [name for name in manifest["files"] if "tokens" in name]
    lines = map(json.loads, (tmp_path / "run" / "steps.jsonl").read_text().splitlines())
    assert [line["step"] for line in lines] == [0, 1, 2]


def test_a_stopped_training_goes_on_to_the_same_weights(folder, settings, tmp_path, monkeypatch):
    def run(name, **options):
        train(settings, source=folder, out=tmp_path / name, device="cpu", **options)
        return load_sdxl(tmp_path / name).unet.state_dict()

    whole = run("whole")
    real, calls = loop.Trainer.__call__, []

    def stop_after_two(self, *args):
        calls.append(args)
        entry = real(self, *args)
        if len(calls) == 2:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGINT)
        return entry

    monkeypatch.setattr(loop.Trainer, "__call__", stop_after_two)
    with pytest.raises(InterruptedRun, match=r"--resume"):
        run("stopped")
    monkeypatch.setattr(loop.Trainer, "__call__", real)
    again = run("stopped", resume=True)
    assert all(torch.equal(value, whole[name]) for name, value in again.items())


def test_only_attention_to_tokens_can_be_trained(folder, settings, tmp_path):
    few = settings.model_copy(update={"trained": "cross_attention"})
    train(few, source=folder, out=tmp_path / "run", device="cpu")
    learned = load_sdxl(tmp_path / "run").unet.state_dict()
    before = load_base(settings.base)[0].half().float().state_dict()
    kept = [k for k in before if ".attn2." not in k and "class_embedding.linear_1" not in k]
    assert all(torch.equal(learned[k], before[k]) for k in kept)


def test_the_loss_is_the_error_of_the_noise(tiny_base, rng):
    """Against the definition, with a U-Net whose output is zero."""
    unet, vae = load_base(str(tiny_base))
    sdxl = Sdxl(unet=attend_to(unet, n_features=6, vector_width=32), vae=vae, size_width=8)
    for part in unet.conv_out.parameters():
        part.data.zero_()
    latents, tokens = torch.randn(2, 4, 8, 8, generator=rng), torch.randn(2, 3, 6, generator=rng)
    given = {"latents": latents, "tokens": tokens, "vectors": torch.zeros(2, 32)}
    noise = torch.randn(latents.shape, generator=rng)
    got = UnclipLoss(sdxl.unet)(**given, noise=noise, level=torch.tensor([3, 700]))["loss"]
    torch.testing.assert_close(got, noise.square().mean())


def test_offset_noise_is_equal_over_all_latents_of_an_image(rng):
    """Its variance adds to the mean of each image, not to the spread within it."""
    noise = sample_noise((4000, 1, 4, 4), offset=3.0, generator=rng).flatten(1)
    assert noise.mean(dim=1).std().item() == pytest.approx((9 + 1 / 16) ** 0.5, rel=0.05)
    assert noise.std(dim=1).square().mean().item() == pytest.approx(1, rel=0.05)


def test_tokens_are_encoded_once_and_kept(tmp_path, rng):
    class Encoder:
        name, key, calls = "twice", "twice-1", 0

        def __call__(self, images):
            self.calls += 1
            return images.flatten(2) * 2

    encoder, images = Encoder(), torch.rand(2, 3, 4, 4, generator=rng)
    cache = TokenCache(tmp_path, encoder=encoder, n_images=5)
    rows = torch.tensor([3, 1])
    first, again = cache(rows, images), cache(rows, images)
    assert encoder.calls == 1
    assert torch.equal(first, again)
    torch.testing.assert_close(first, images.flatten(2) * 2, rtol=1e-3, atol=1e-3)
    cache(torch.tensor([0, 1]), images)
    assert encoder.calls == 2


def test_the_published_learning_rate_rises_for_a_thousand_steps_and_stays():
    published = unclip_sdxl().optimizer
    rates = [learning_rate(step, published) for step in (0, 500, 1000, 109_999)]
    assert rates == pytest.approx([1e-11, 5e-6, 1e-5, 1e-5], rel=1e-3)
