"""DINOv2 features of a small random network, against the network's own hidden states."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from mindeye2.core.errors import ArtifactError, require
from mindeye2.core.runtime import process_rng
from mindeye2.encoders.bank import ImageEncoder, to_float
from mindeye2.encoders.dinov2 import GIANT, Dinov2Features, load_dinov2
from mindeye2.encoders.registry import load_encoder


@pytest.fixture(scope="module")
def network():
    """Return a network of giant's class: SwiGLU, three blocks."""
    transformers = require("transformers", extra="evaluation", purpose="A test")
    config = transformers.Dinov2Config(
        hidden_size=12, num_hidden_layers=3, num_attention_heads=2, image_size=56, patch_size=14,
        use_swiglu_ffn=True,
    )  # fmt: skip
    with process_rng(0, "dinov2"):
        return transformers.Dinov2Model(config).eval()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), np.uint8)


def test_features_are_the_mean_hidden_state_at_two_thirds(network, images):
    transformers = require("transformers", extra="evaluation", purpose="A test")
    processor = transformers.BitImageProcessor(
        size={"shortest_edge": 256}, crop_size=224, resample=3,
        image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
    )  # fmt: skip
    inputs = processor([Image.fromarray(x) for x in images], return_tensors="pt")
    with torch.no_grad():
        states = network(inputs["pixel_values"], output_hidden_states=True).hidden_states
    assert len(states) == 4
    encoder = Dinov2Features(copy.deepcopy(network), weights_key="tiny")
    assert isinstance(encoder, ImageEncoder)
    found = encoder(to_float(images))
    assert found.shape == (3, 1, 12)
    torch.testing.assert_close(found[:, 0], states[2].mean(dim=1), atol=1e-4, rtol=1e-4)


def test_images_of_any_size_are_resized_to_256_pixels(network, images):
    encoder = Dinov2Features(copy.deepcopy(network), weights_key="tiny")
    smooth = to_float(images[:1])[..., ::16, ::16]
    large = torch.nn.functional.interpolate(smooth, (512, 512), mode="bicubic").clamp(0, 1)
    reduced = torch.nn.functional.interpolate(
        large, (256, 256), mode="bicubic", antialias=True
    ).clamp(0, 1)
    torch.testing.assert_close(encoder(large), encoder(reduced))


def test_it_is_read_from_a_folder_by_its_name_in_the_registry(network, images, tmp_path):
    network.save_pretrained(tmp_path / "dinov2-giant")
    encoder = load_encoder("dinov2-giant", weights=tmp_path / "dinov2-giant")
    assert encoder.name == "dinov2-giant"
    assert encoder.key == "dinov2-224-layer2-dinov2-giant"
    wanted = Dinov2Features(copy.deepcopy(network), weights_key="tiny")(to_float(images))
    torch.testing.assert_close(encoder(to_float(images)), wanted)
    with pytest.raises(ArtifactError, match=r"licence Apache-2\.0.*encoder_weights"):
        load_dinov2(tmp_path)


def test_a_download_is_announced(monkeypatch, capsys, network):
    transformers = require("transformers", extra="evaluation", purpose="A test")
    asked = []
    monkeypatch.setattr("mindeye2.encoders.evaluation_weights.HubModel.find", lambda *_: None)
    monkeypatch.setattr(
        transformers.Dinov2Model, "from_pretrained",
        lambda name: asked.append(name) or copy.deepcopy(network),
    )  # fmt: skip
    load_dinov2()
    assert asked == [GIANT.hub]
    assert "about 4546 MB, licence Apache-2.0" in capsys.readouterr().err
