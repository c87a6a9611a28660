import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.encoders.bank import to_float
from mindeye2.generation.autoencoder import AutoencoderSettings
from mindeye2.generation.decoders import load_autoencoder, load_unclip_decoder, shipped_decoder
from mindeye2.models.checkpoint import load_run
from mindeye2.stages.train import AutoencoderTraining, train
from mindeye2.training.loop import OptimizerSettings


@pytest.fixture(scope="module")
def settings():
    return AutoencoderTraining(
        model=AutoencoderSettings(latent_channels=4, widths=(4, 4, 4), n_blocks=1),
        batch_size=4,
        perceptual_weight=0.0,
        optimizer=OptimizerSettings(steps=20, max_lr=1e-2),
    )


@pytest.fixture(scope="module")
def autoencoder(data, settings, tmp_path_factory):
    """Return the run of a tiny autoencoder."""
    out = tmp_path_factory.mktemp("run") / "autoencoder"
    train(settings, source=data, out=out, device="cpu")
    return out


def test_an_autoencoder_s_latents_are_standardised_on_what_it_was_trained_on(
    autoencoder, prepared, settings
):
    size = (settings.model.size, settings.model.size)
    images = torch.nn.functional.interpolate(to_float(prepared.images[:]), size, mode="area")
    latents = load_autoencoder(autoencoder).encode(images)
    assert latents.mean().item() == pytest.approx(0, abs=0.05)
    assert latents.std().item() == pytest.approx(1, abs=0.1)


def test_an_autoencoder_s_run_is_float16_and_knows_its_sizes(autoencoder, settings):
    weights = load_file(autoencoder / "autoencoder.safetensors")
    assert {w.dtype for w in weights.values() if w.is_floating_point()} == {torch.float16}
    facts = read_manifest(autoencoder, stage="train")
    assert facts["config"]["task"] == "autoencoder"
    assert facts["config"]["model"]["latent_channels"] == settings.model.latent_channels


def test_an_image_is_decoded_from_its_own_tokens_and_seed_whatever_its_batch(decoder, prepared):
    tokens = torch.tensor(np.array(prepared.targets("lite0")[:2])).float()
    unclip = load_unclip_decoder(decoder)
    both = unclip.decode(tokens, seeds=[1, 2])
    torch.testing.assert_close(unclip.decode(tokens[1:], seeds=[2]), both[1:], rtol=0, atol=1e-4)
    for changed, seed in ((tokens[:1], 2), (2 * tokens[:1], 1)):
        assert not torch.allclose(unclip.decode(changed, seeds=[seed]), both[:1], atol=1e-3)


def test_a_decoder_carries_the_autoencoder_that_it_was_trained_for(decoder):
    own, shipped = (f / "autoencoder.safetensors" for f in (decoder, shipped_decoder()))
    assert own.read_bytes() == shipped.read_bytes()


def test_the_same_settings_train_the_same_decoder(decoder, data, unclip, tmp_path):
    train(unclip, source=data, init=shipped_decoder(), out=tmp_path, device="cpu")
    first, again = (f / "unclip.safetensors" for f in (decoder, tmp_path))
    assert first.read_bytes() == again.read_bytes()


def test_a_decoder_needs_an_autoencoder(data, unclip, pretrained, tmp_path):
    with pytest.raises(ArtifactError, match=r"'unclip' starts from the autoencoder's run.*--init"):
        train(unclip, source=data, out=tmp_path)
    with pytest.raises(ArtifactError, match=r"holds no autoencoder .*--recipe autoencoder"):
        train(unclip, source=data, init=pretrained, out=tmp_path, device="cpu")


def test_a_decoder_is_no_brain_model(decoder):
    with pytest.raises(ArtifactError, match=r"run of the task 'unclip', which trains no brain"):
        load_run(decoder)
