"""Names of the published MindEye2 parameters and ours."""

import pytest

from mindeye2.released.mindeye_names import own_name, released_name

SUBJECTS = ["subj01", "subj02"]
UPSAMPLER = "backbone.bupsampler"


@pytest.mark.parametrize(
    ("released", "ours"),
    [
        ("ridge.linears.1.weight", "ridge.maps.subj02.weight"),
        ("backbone.mixer_blocks1.3.1.0.bias", "backbone.trunk.latent_blocks.3.1.0.bias"),
        (f"{UPSAMPLER}.up_blocks.1.resnets.0.conv1.weight", "levels.1.0.conv1.weight"),
        (f"{UPSAMPLER}.up_blocks.1.resnets.0.conv_shortcut.bias", "levels.1.0.shortcut.bias"),
        (f"{UPSAMPLER}.up_blocks.0.upsamplers.0.conv.weight", "levels.0.3.weight"),
        (
            "diffusion_prior.net.causal_transformer.layers.12.0.to_out.1.g",
            "prior.network.attentions.12.output.1.weight",
        ),
    ],
)
def test_names_are_translated_in_both_directions(released, ours):
    ours = f"lowlevel.upsampler.{ours}" if ours.startswith("levels") else ours
    assert own_name(released, SUBJECTS) == ours
    assert released_name(ours, SUBJECTS) == released


def test_names_without_a_counterpart_have_none():
    assert own_name("backbone.extra.weight", SUBJECTS) is None
    assert own_name("ridge.linears.2.weight", SUBJECTS) is None
    assert released_name("prior.network.condition.weight", SUBJECTS) is None
