import pytest
import torch
import yaml
from safetensors.torch import save_file

from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import plain
from mindeye2.generation.autoencoder import AutoencoderSettings, build_autoencoder
from mindeye2.generation.decoders import load_autoencoder, load_unclip_decoder, shipped_decoder
from mindeye2.generation.unclip import UnclipSettings, build_unclip

PICTURES = AutoencoderSettings(latent_channels=4, widths=(4, 4, 4), n_blocks=1)
LATENTS = UnclipSettings(
    latent_channels=4, latent_size=2, n_features=6, widths=(32,), head_width=16, sampling_steps=2
)


@pytest.fixture(scope="module")
def built():
    return build_unclip(LATENTS, build_autoencoder(PICTURES)).eval()


@pytest.fixture
def folder(built, tmp_path):
    """Return a decoder on disk, its weights in float16 as a training run leaves them."""
    for name, state, settings in (
        ("autoencoder", built.autoencoder.state_dict(), PICTURES),
        ("unclip", built.own_state(), LATENTS),
    ):
        weights = {k: v.half().contiguous() for k, v in state.items()}
        save_file(weights, tmp_path / f"{name}.safetensors")
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(plain(settings)))
    return tmp_path


def test_a_stored_decoder_draws_what_the_built_one_draws(built, folder, rng):
    tokens = torch.randn(2, 4, 6, generator=rng)
    loaded = load_unclip_decoder(folder)
    assert loaded.settings == LATENTS
    drawn = loaded.decode(tokens, seeds=[1, 2])
    # Weights went through float16.
    torch.testing.assert_close(drawn, built.decode(tokens, seeds=[1, 2]), rtol=0, atol=2e-2)


def test_a_loaded_decoder_is_frozen_float32_and_in_eval_mode(folder):
    loaded = load_unclip_decoder(folder)
    assert not loaded.training
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in loaded.parameters())


def test_an_autoencoder_can_be_loaded_alone(folder):
    assert load_autoencoder(folder).latent_scale.shape == (4, 1, 1)


@pytest.mark.parametrize("name", ["autoencoder", "unclip"])
def test_missing_settings_name_the_recipe_that_makes_them(folder, name):
    (folder / f"{name}.yaml").unlink()
    with pytest.raises(ArtifactError, match=rf"no {name} .*mindeye2 train --recipe {name}'"):
        load_unclip_decoder(folder)


def test_missing_weights_are_called_unfinished(folder):
    (folder / "unclip.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"unclip\.safetensors is missing.*--resume"):
        load_unclip_decoder(folder)


def test_the_shipped_decoder_reads_the_tokens_of_the_shipped_encoder():
    decoder = load_unclip_decoder()
    drawn = decoder.decode(torch.zeros(1, 49, 128), seeds=[0])
    assert shipped_decoder().is_dir()
    assert drawn.shape == (1, 3, 112, 112)
