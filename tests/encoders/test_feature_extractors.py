from dataclasses import replace

import pytest
import torch
from torch import nn

from mindeye2.core.errors import require
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.encoders.feature_extractors import (
    FEATURE_EXTRACTORS,
    FeatureExtractor,
    load_feature_extractor,
    metric_features,
)
from mindeye2.metrics import correlation_distance, two_way_identification


@pytest.fixture
def images(rng):
    return torch.rand(3, 3, 64, 64, generator=rng)


@pytest.fixture(scope="module")
def alexnet():
    return require("torchvision", extra="demo", purpose="A test").models.alexnet().eval()


@pytest.fixture
def toy(monkeypatch):
    """Register a network that returns its input."""
    network = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True)).eval()
    extractor = FeatureExtractor(lambda: network, "0", 16, "two_way_identification")
    monkeypatch.setitem(FEATURE_EXTRACTORS, "toy", extractor)
    return network


@pytest.mark.parametrize("name", ["alexnet2", "alexnet5"])
def test_nodes_are_those_of_torchvisions_extractor(name, alexnet, images):
    torchvision = require("torchvision", extra="demo", purpose="A test")
    from torchvision.models.feature_extraction import create_feature_extractor

    node = {"alexnet2": "features.4", "alexnet5": "features.11"}[name]
    transforms = torchvision.transforms.Compose(
        [
            torchvision.transforms.Resize(256, antialias=False),
            torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with torch.no_grad():
        reference = create_feature_extractor(alexnet, [node])(transforms(images))[node].flatten(1)
    torch.testing.assert_close(metric_features(name, images, network=alexnet), reference)


def test_every_feature_extractor_names_a_metric():
    metrics = {two_way_identification.__name__, correlation_distance.__name__}
    assert {extractor.compared_by for extractor in FEATURE_EXTRACTORS.values()} == metrics


@pytest.mark.usefixtures("toy")
def test_a_layer_that_works_in_place_does_not_change_the_features(images):
    features = metric_features("toy", images - 0.4)
    assert features.min() < 0
    assert features.shape == (3, 3 * 16 * 16)


@pytest.mark.usefixtures("toy")
def test_resizing_is_not_antialiased(images):
    expected = torch.nn.functional.interpolate(images, (16, 16), mode="bilinear")
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    torch.testing.assert_close(
        metric_features("toy", images), ((expected - mean) / std).flatten(1)
    )


def test_batches_and_hooks_leave_no_trace(toy, images):
    torch.testing.assert_close(
        metric_features("toy", images, batch=2), metric_features("toy", images)
    )
    assert not toy[0]._forward_hooks


def test_any_lite_network_may_be_passed(images):
    network = LiteFeatures(1, 64)
    torch.testing.assert_close(
        metric_features("lite1", images, network=network), network.pooled(images)
    )


def test_lite_networks_load_frozen_with_their_weights():
    network = load_feature_extractor("lite1")
    assert isinstance(network, LiteFeatures)
    assert not network.training
    assert network.size == 240


@pytest.mark.usefixtures("toy")
def test_features_can_be_trained_on(images):
    """They leave inference mode, where tensors refuse autograd."""
    features = metric_features("toy", images)
    (features * torch.ones(1, requires_grad=True)).sum().backward()


def test_bad_names_images_and_modes_are_refused(alexnet, images):
    with pytest.raises(
        ValueError, match=r"the feature extractor must be one of.*got 'alexnet3'.*'alexnet"
    ):
        metric_features("alexnet3", images)
    with pytest.raises(ValueError, match="the feature extractor must be one of"):
        load_feature_extractor("vgg")
    with pytest.raises(ValueError, match="'alexnet2' was given no images"):
        metric_features("alexnet2", images[:0], network=alexnet)
    with pytest.raises(ValueError, match=r"'swav' is in training mode: call \.eval\(\)"):
        metric_features("swav", images, network=nn.Sequential())


def test_a_download_is_announced(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setitem(
        FEATURE_EXTRACTORS, "swav", replace(FEATURE_EXTRACTORS["swav"], build=nn.Identity)
    )
    load_feature_extractor("swav")
    message = capsys.readouterr().err
    assert "swav_800ep_pretrain.pth.tar: about 113 MB, SHA-256 not stated" in message
    assert "licence CC BY-NC 4.0" in message
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "swav_800ep_pretrain.pth.tar").touch()
    load_feature_extractor("swav")
    assert capsys.readouterr().err == ""


def test_the_files_are_those_that_torchvision_downloads():
    models = require("torchvision", extra="demo", purpose="A test").models
    networks = {"alexnet2": "alexnet", "inception": "inception_v3", "effnet": "efficientnet_b1"}
    for name, network in networks.items():
        weights, download = (
            models.get_model_weights(network).DEFAULT,
            FEATURE_EXTRACTORS[name].download,
        )
        assert download.url == weights.url
        assert download.sha256.removesuffix("...") in weights.url
        assert download.megabytes == pytest.approx(weights.meta["_file_size"], abs=1)


def test_only_networks_that_come_with_a_package_download_nothing():
    assert {n for n, e in FEATURE_EXTRACTORS.items() if not e.download} == {
        "lite0",
        "lite1",
        "lite2",
    }
