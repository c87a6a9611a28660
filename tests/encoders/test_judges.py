from dataclasses import replace

import pytest
import torch
from torch import nn

from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.encoders.judges import JUDGES, Judge, load_judge, metric_features
from mindeye2.encoders.torchvision import load_torchvision
from mindeye2.metrics import correlation_distance, two_way_identification


@pytest.fixture
def images(rng):
    return torch.rand(3, 3, 64, 64, generator=rng)


@pytest.fixture(scope="module")
def alexnet():
    return load_torchvision().models.alexnet().eval()


@pytest.fixture
def toy(monkeypatch):
    """Register a judge that shows what it was shown."""
    seen = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True)).eval()
    judge = Judge(lambda: seen, "0", 16, "two_way_identification")
    monkeypatch.setitem(JUDGES, "toy", judge)
    return seen


@pytest.mark.parametrize("name", ["alexnet2", "alexnet5"])
def test_nodes_are_those_of_torchvisions_extractor(name, alexnet, images):
    torchvision = load_torchvision()
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


def test_the_published_judges_look_at_the_published_sizes():
    assert {name: (j.size, j.read) for name, j in JUDGES.items() if j.size} == {
        "alexnet2": (256, "features.4"),
        "alexnet5": (256, "features.11"),
        "inception": (342, "avgpool"),
        "clip": (224, ""),
        "effnet": (255, "avgpool"),
        "swav": (224, "avgpool"),
    }


def test_every_judge_names_a_metric():
    metrics = {two_way_identification.__name__, correlation_distance.__name__}
    assert {judge.compared_by for judge in JUDGES.values()} == metrics


@pytest.mark.usefixtures("toy")
def test_a_layer_that_works_in_place_does_not_change_what_was_read(images):
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


def test_a_small_judge_may_be_any_lite_network(images):
    network = LiteFeatures(1, 64)
    torch.testing.assert_close(
        metric_features("lite1", images, network=network), network.pooled(images)
    )


def test_small_judges_load_frozen_with_their_weights():
    network = load_judge("lite1")
    assert isinstance(network, LiteFeatures)
    assert not network.training
    assert network.size == 240


@pytest.mark.usefixtures("toy")
def test_features_can_be_trained_on(images):
    """They leave inference mode, where tensors refuse autograd."""
    features = metric_features("toy", images)
    (features * torch.ones(1, requires_grad=True)).sum().backward()


def test_what_does_not_fit_is_named(alexnet, images):
    with pytest.raises(ValueError, match=r"the judge must be one of.*got 'alexnet3'.*'alexnet"):
        metric_features("alexnet3", images)
    with pytest.raises(ValueError, match="the judge must be one of"):
        load_judge("vgg")
    with pytest.raises(ValueError, match="'alexnet2' was given no images"):
        metric_features("alexnet2", images[:0], network=alexnet)
    with pytest.raises(ValueError, match=r"'swav' is in training mode: call \.eval\(\)"):
        metric_features("swav", images, network=nn.Sequential())


def test_what_a_judge_downloads_is_said_before(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setitem(JUDGES, "swav", replace(JUDGES["swav"], build=nn.Identity))
    load_judge("swav")
    said = capsys.readouterr().err
    assert "swav_800ep_pretrain.pth.tar: about 113 MB, SHA-256 not stated" in said
    assert "licence CC BY-NC 4.0" in said
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "swav_800ep_pretrain.pth.tar").touch()
    load_judge("swav")
    assert capsys.readouterr().err == ""


def test_the_files_are_those_that_torchvision_downloads():
    models = load_torchvision().models
    networks = {"alexnet2": "alexnet", "inception": "inception_v3", "effnet": "efficientnet_b1"}
    for name, network in networks.items():
        weights, download = models.get_model_weights(network).DEFAULT, JUDGES[name].download
        assert download.url == weights.url
        assert download.sha256.removesuffix("...") in weights.url
        assert download.megabytes == pytest.approx(weights.meta["_file_size"], abs=1)


def test_only_judges_that_come_with_a_package_download_nothing():
    assert {n for n, j in JUDGES.items() if j.download is None} == {"lite0", "lite1", "lite2"}
