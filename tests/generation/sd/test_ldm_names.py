"""The name rules against diffusers' own converter."""

import json
from pathlib import Path

import pytest
import torch

from mindeye2.core.torchvision_operators import declare_torchvision_operators
from mindeye2.encoders.sd_vae import VaeSettings, build_vae, infer_vae
from mindeye2.generation.sd.ldm_names import (
    UNET_PREFIX,
    VAE_PREFIX,
    infer_unet,
    rename_unet,
    rename_vae,
)
from mindeye2.generation.sd.unet import UnetSettings, build_unet

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="module", autouse=True)
def _operators():
    """Diffusers' converters import what imports torchvision."""
    declare_torchvision_operators()


@pytest.fixture(scope="module")
def published():
    """Return every name and shape of the published unCLIP, without memory."""
    shapes = json.loads((GOLDEN / "released_unclip6_keys.json").read_text())
    with torch.device("meta"):
        return {name: torch.empty(shape) for name, shape in shapes.items()}


def under(state, prefix):
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def test_the_published_shapes_give_the_default_sizes(published):
    unet = infer_unet(under(published, UNET_PREFIX), head_channels=64)
    assert unet == UnetSettings()
    assert infer_vae(under(published, VAE_PREFIX)) == VaeSettings()


def test_unet_names_are_those_that_diffusers_converter_gives(published):
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    own = under(published, UNET_PREFIX)
    config = {"layers_per_block": 2, "addition_embed_type": "text_time"}
    theirs = {id(v): k for k, v in convert_ldm_unet_checkpoint(published, config).items()}
    ours = {id(v): rename_unet(k, UnetSettings()) for k, v in own.items()}
    renamed = {k: v.replace("add_embedding", "class_embedding") for k, v in theirs.items()}
    assert ours == renamed
    with torch.device("meta"):
        assert set(ours.values()) == set(build_unet(UnetSettings()).state_dict())


def test_vae_names_are_those_that_diffusers_converter_gives(published):
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    with torch.device("meta"):
        vae = build_vae(VaeSettings())
    # Attention turns from convolutions into matrices, so names tell tensors apart, not identity.
    theirs = set(convert_ldm_vae_checkpoint(published, vae.config))
    ours = {rename_vae(k, VaeSettings()) for k in under(published, VAE_PREFIX)}
    assert ours == theirs == set(vae.state_dict())


@pytest.mark.parametrize("rename", [rename_unet, rename_vae])
@pytest.mark.parametrize(
    "name",
    [
        "input_blocks.1.0.extra.weight",
        "input_blocks.1.3.op.weight",
        "encoder.mid.attn_2.q.weight",
        "out.1.weight",
        "weight",
    ],
)
def test_names_without_a_rule_are_not_guessed(rename, name):
    settings = UnetSettings() if rename is rename_unet else VaeSettings()
    assert rename(name, settings) is None


def test_missing_weights_that_give_sizes_are_named():
    with pytest.raises(ValueError, match=r"not an SDXL U-Net.*\['label_emb.0.0.weight'\] are"):
        infer_unet({"input_blocks.0.0.weight": torch.zeros(1)}, head_channels=64)
    flat = {k: torch.zeros(1, 1) for k in ("input_blocks.0.0.weight", "label_emb.0.0.weight")}
    with pytest.raises(ValueError, match=r"no block halves the resolution"):
        infer_unet(flat, head_channels=64)
    with pytest.raises(ValueError, match=r"not a VAE.*encoder.down.0.block.0.conv1"):
        infer_vae({})
