import torch

from mindeye2.encoders.sd_vae import VaeSettings, build_vae
from mindeye2.generation.sd.unet import UnetSettings, build_unet


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_the_defaults_are_the_published_sizes():
    """Counts of the published checkpoint; see tests/golden/released_unclip6_keys.json."""
    with torch.device("meta"):
        unet, vae = build_unet(UnetSettings()), build_vae(VaeSettings())
    assert count(unet) == 2_501_272_324
    assert count(vae) == 83_653_863
    assert unet.config.cross_attention_dim == 1664


def test_with_text_sizes_it_is_the_base_model_s_unet():
    """2,567,463,684 parameters: Podell et al. 2023, arXiv:2307.01952, as diffusers counts them."""
    with torch.device("meta"):
        unet = build_unet(UnetSettings(n_features=2048, vector_width=2816))
    assert count(unet) == 2_567_463_684


def test_the_vector_reaches_the_output(rng):
    settings = UnetSettings(
        widths=(32, 64), n_layers=1, depths=(0, 1), head_channels=16, n_features=6, vector_width=8
    )
    unet = build_unet(settings).eval()
    x, tokens = torch.randn(1, 4, 8, 8, generator=rng), torch.randn(1, 3, 6, generator=rng)
    outs = [
        unet(x, 5, encoder_hidden_states=tokens, class_labels=v, return_dict=False)[0]
        for v in (torch.zeros(1, 8), torch.ones(1, 8))
    ]
    assert outs[0].shape == x.shape
    assert not torch.allclose(outs[0], outs[1])
