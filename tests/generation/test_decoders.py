import pytest
import skimage.data
import torch
import yaml
from safetensors.torch import save_file

from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import plain
from mindeye2.encoders.tokens import Lite0Tokens
from mindeye2.generation.autoencoder import AutoencoderSettings, build_autoencoder
from mindeye2.generation.decoders import load_autoencoder, load_unclip_decoder
from mindeye2.generation.unclip import UnclipSettings, build_unclip

AUTOENCODER = AutoencoderSettings(latent_channels=4, widths=(4, 4, 4), n_blocks=1)
UNCLIP = UnclipSettings(
    latent_channels=4, latent_size=2, n_features=6, widths=(32,), head_width=16, sampling_steps=2
)


@pytest.fixture(scope="module")
def built():
    return build_unclip(UNCLIP, build_autoencoder(AUTOENCODER)).eval()


@pytest.fixture
def folder(built, tmp_path):
    """Return a decoder on disk, its weights in float16 as a training run leaves them."""
    for name, state, settings in (
        ("autoencoder", built.autoencoder.state_dict(), AUTOENCODER),
        ("unclip", built.own_state(), UNCLIP),
    ):
        weights = {k: v.half().contiguous() for k, v in state.items()}
        save_file(weights, tmp_path / f"{name}.safetensors")
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(plain(settings)))
    return tmp_path


def test_a_stored_decoder_gives_the_images_of_the_built_one(built, folder, rng):
    tokens = torch.randn(2, 4, 6, generator=rng)
    loaded = load_unclip_decoder(folder)
    assert loaded.settings == UNCLIP
    images = loaded.decode(tokens, seeds=[1, 2])
    # Weights went through float16.
    torch.testing.assert_close(images, built.decode(tokens, seeds=[1, 2]), rtol=0, atol=2e-2)


def test_a_loaded_decoder_is_frozen_float32_and_in_eval_mode(folder):
    loaded = load_unclip_decoder(folder)
    assert not loaded.training
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in loaded.parameters())


def test_an_autoencoder_can_be_loaded_alone(built, folder, rng):
    latents = torch.randn(1, 4, 2, 2, generator=rng)
    decoded = load_autoencoder(folder).decode(latents)
    torch.testing.assert_close(decoded, built.autoencoder.decode(latents), rtol=0, atol=2e-2)


@pytest.mark.parametrize("name", ["autoencoder", "unclip"])
def test_missing_settings_name_their_recipe(folder, name):
    (folder / f"{name}.yaml").unlink()
    with pytest.raises(ArtifactError, match=rf"no {name} .*mindeye2 train --recipe {name}'"):
        load_unclip_decoder(folder)


def test_missing_weights_name_resume(folder):
    (folder / "unclip.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"unclip\.safetensors is missing.*--resume"):
        load_unclip_decoder(folder)


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_the_shipped_decoder_reconstructs_photographs_from_their_tokens(name):
    """They are of no training scene; the two shipped parts must fit each other."""
    pixels = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1)[None] / 255
    image = torch.nn.functional.interpolate(pixels, (224, 224), mode="area")
    decoded = load_unclip_decoder().decode(Lite0Tokens()(image), seeds=[0])
    small = torch.nn.functional.interpolate(image, (112, 112), mode="area")
    assert torch.corrcoef(torch.stack([decoded.flatten(), small.flatten()]))[0, 1] > 0.8
