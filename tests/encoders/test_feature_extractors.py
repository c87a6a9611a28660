import pytest
import torch
from torch import nn

from mindeye2.core.errors import ArtifactError, require
from mindeye2.encoders.efficientnet import LiteFeatures
from mindeye2.encoders.feature_extractors import (
    FEATURE_EXTRACTORS,
    FeatureExtractor,
    layer_features,
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
    extractor = FeatureExtractor(lambda _: network, "0", 16, "two_way_identification")
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


@pytest.fixture
def clip():
    """Return a CLIP of OpenAI's layout with two small towers, and its state dict."""
    model = require("open_clip.model", extra="sdxl", purpose="A test")
    network = model.CLIP(
        16,
        vision_cfg=model.CLIPVisionCfg(layers=1, width=64, patch_size=32, image_size=224),
        text_cfg=model.CLIPTextCfg(context_length=5, vocab_size=9, width=64, heads=1, layers=1),
        quick_gelu=True,
    ).eval()
    state = {k: v.half().float() for k, v in network.state_dict().items() if k != "attn_mask"}
    network.load_state_dict(state)
    return network, state


def test_weights_are_read_from_a_folder(clip, images, tmp_path):
    """OpenAI's file may be given as a state dict; its sizes are inferred."""
    network, state = clip
    torch.save(state, tmp_path / "ViT-L-14.pt")
    loaded = load_feature_extractor("clip", folder=tmp_path)
    mean, std = FEATURE_EXTRACTORS["clip"].normalisation
    large = torch.nn.functional.interpolate(images, (224, 224), mode="bilinear")
    inputs = (large - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        want = network.encode_image(inputs)
    got = metric_features("clip", images, network=loaded)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


def test_a_file_of_another_network_is_refused(alexnet, tmp_path):
    torch.save(alexnet.state_dict(), tmp_path / "efficientnet_b1-c27df63c.pth")
    with pytest.raises(ArtifactError, match=r"c27df63c\.pth does not hold the weights.*'effnet'"):
        load_feature_extractor("effnet", folder=tmp_path)
    (tmp_path / "efficientnet_b1-c27df63c.pth").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"does not hold the weights.*Remove it"):
        load_feature_extractor("effnet", folder=tmp_path)


@pytest.mark.parametrize(
    ("name", "model"),
    [("inception", "inception_v3"), ("effnet", "efficientnet_b1"), ("swav", "resnet50")],
)
def test_folding_batch_normalisation_changes_rounding_only(name, model, rng, tmp_path):
    """Against the network of torchvision, with statistics as training leaves them."""
    models = require("torchvision", extra="demo", purpose="A test").models
    options = {"init_weights": False, "transform_input": True} if "inception" in model else {}
    network = models.get_model(model, weights=None, **options).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=rng)
            module.running_var.uniform_(0.5, 2, generator=rng)
    file = tmp_path / FEATURE_EXTRACTORS[name].download.name
    torch.save(network.state_dict(), file)
    if name == "swav":
        state = network.state_dict()
        torch.save({k: v for k, v in state.items() if not k.startswith("fc.")}, file)
    folded = load_feature_extractor(name, folder=tmp_path)
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    images = torch.rand(1, 3, 64, 64, generator=rng)
    want, got = (metric_features(name, images, network=x) for x in (network, folded))
    assert want.std() > 0
    torch.testing.assert_close(got, want, rtol=1e-4, atol=2e-5 * float(want.abs().max()))


def test_layers_after_the_last_that_is_compared_are_not_computed(images, monkeypatch):
    class Never(nn.Module):
        def forward(self, _):
            raise AssertionError

    network = nn.Sequential(nn.Identity(), Never()).eval()
    extractor = FeatureExtractor(lambda _: network, "0", None, "two_way_identification", None)
    monkeypatch.setitem(FEATURE_EXTRACTORS, "toy", extractor)
    torch.testing.assert_close(metric_features("toy", images, network=network), images.flatten(1))


def test_resizing_is_antialiased_where_asked(toy, images):
    expected = torch.nn.functional.interpolate(images, (16, 16), mode="bilinear", antialias=True)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    got = metric_features("toy", images, network=toy, antialias=True)
    torch.testing.assert_close(got, ((expected - mean) / std).flatten(1))


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


def test_two_layers_of_one_network_are_read_in_one_pass(alexnet, images):
    want = {n: metric_features(n, images, network=alexnet) for n in ("alexnet2", "alexnet5")}
    passes = []
    alexnet.register_forward_pre_hook(lambda *_: passes.append(1))
    got = layer_features(("alexnet2", "alexnet5"), images, network=alexnet, batch=2)
    assert len(passes) == 2  # of three images in batches of two
    for name, features in want.items():
        torch.testing.assert_close(got[name], features)
