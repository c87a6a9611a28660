"""OpenCLIP's patch tokens under both input scalings."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from mindeye2.core.errors import ArtifactError
from mindeye2.core.torchvision_operators import declare_torchvision_operators
from mindeye2.encoders import ClipTokens
from mindeye2.encoders.bank import ImageEncoder
from mindeye2.encoders.clip import load_clip_tokens

GOLDEN = Path(__file__).parents[1] / "golden"


def filled(shapes):
    state = {}
    for key, shape in shapes.items():
        w = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(tuple(shape))
        w = w.astype(np.float32)
        if len(shape) >= 2:
            w *= 1 / np.sqrt(np.prod(shape[1:]))
        else:
            w = 0.1 * w + (1.0 if key.endswith(".weight") else 0.0)
        state[key] = torch.from_numpy(np.asarray(w, dtype=np.float32))
    return state


@pytest.fixture(scope="module")
def facts():
    return json.loads((GOLDEN / "clip_tokens.json").read_text())


@pytest.fixture(scope="module")
def visual(facts):
    """Return a real, small tower of open_clip's own class."""
    declare_torchvision_operators()  # which open_clip imports
    pytest.importorskip("open_clip")
    from open_clip.transformer import VisionTransformer

    tower = VisionTransformer(
        image_size=224,
        patch_size=facts["patch_size"],
        width=facts["width"],
        layers=facts["layers"],
        heads=facts["heads"],
        mlp_ratio=4.0,
        output_dim=facts["output_dim"],
        output_tokens=True,
    )
    tower.load_state_dict(filled(facts["state_dict"]))
    return tower.eval()


@torch.no_grad()
def test_tokens_are_the_released_ones(visual):
    golden = np.load(GOLDEN / "clip_tokens.npz")
    tokens = ClipTokens(visual, scaling="released")(torch.from_numpy(golden["image"]))
    torch.testing.assert_close(tokens, torch.from_numpy(golden["tokens"]), rtol=0, atol=1e-4)


@torch.no_grad()
def test_released_scaling_is_clean_scaling_of_a_paler_image(visual, rng):
    """At 224 pixels nothing is resized: the only difference is the published code's range."""
    images = torch.rand(2, 3, 224, 224, generator=rng)
    released = ClipTokens(visual, scaling="released")(images)
    clean = ClipTokens(visual, scaling="clean")
    torch.testing.assert_close(released, clean(images / 2 + 0.5), rtol=1e-3, atol=1e-4)
    assert (released - clean(images)).abs().max() > 0.1


class _Passed(nn.Module):
    """A tower whose tokens are the pixels that it is given."""

    output_tokens = True

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return None, images.flatten(2)


@torch.no_grad()
def test_images_of_256_pixels_are_resized_as_by_the_published_library():
    """Values of kornia 0.6.12: geometry.resize, bicubic, align_corners, antialias.

    The published retrieval gallery is encoded from images of that size.
    """
    noise = np.random.RandomState(0).rand(1, 3, 256, 256).astype(np.float32)
    encode = ClipTokens(_Passed(), scaling="released")
    values = encode(torch.from_numpy(noise)).unflatten(2, (224, 224)) * encode.std + encode.mean
    resized = (values - 0.5) * 2
    pixels = [(0, 0, 0), (0, 1, 7), (1, 100, 50), (1, 111, 223), (2, 222, 3), (2, 223, 223)]
    expected = torch.tensor([0.548814, 0.631983, 0.149179, 0.048745, 0.235017, 0.861071])
    found = torch.stack([resized[(0, *pixel)] for pixel in pixels])
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-6)


@torch.no_grad()
def test_shrinking_blurs_first_so_that_fine_stripes_become_grey(visual):
    stripes = torch.zeros(1, 3, 896, 896)
    stripes[..., ::2] = 1
    grey = torch.full((1, 3, 224, 224), 0.5)
    for scaling in ("released", "clean"):
        encode = ClipTokens(visual, scaling=scaling)
        close = (encode(stripes) - encode(grey)).abs().mean()
        assert close < 0.05, scaling


def test_the_key_depends_on_scaling_and_weights(visual):
    keys = {ClipTokens(visual, scaling=s).key for s in ("released", "clean")}
    before = visual.ln_pre.weight.data.clone()
    visual.ln_pre.weight.data += 1
    keys.add(ClipTokens(visual).key)
    visual.ln_pre.weight.data = before
    assert len(keys) == 3
    assert isinstance(ClipTokens(visual), ImageEncoder)


def test_wrong_scaling_and_a_tower_without_tokens_are_refused(visual):
    with pytest.raises(ValueError, match=r"one of \['clean', 'released'\], got 'cleen'"):
        ClipTokens(visual, scaling="cleen")
    visual.output_tokens = False
    with pytest.raises(ValueError, match="output_tokens=True"):
        ClipTokens(visual)
    visual.output_tokens = True


def test_bigg_at_full_size_gives_256_tokens_of_1664_without_memory():
    declare_torchvision_operators()
    open_clip = pytest.importorskip("open_clip")
    with torch.device("meta"):
        model = open_clip.create_model("ViT-bigG-14", pretrained=None, device="meta")
        model.visual.output_tokens = True
        encode = ClipTokens(model.visual.eval(), weights_key="none")
        encode.to("meta")
        assert encode(torch.empty(1, 3, 224, 224)).shape == (1, 256, 1664)
    transformer = sum(p.numel() for p in model.transformer.parameters())
    # What the published embedder counts: the model without the text transformer's blocks.
    assert sum(p.numel() for p in model.parameters()) - transformer == 1_909_889_025


@torch.no_grad()
def test_a_tower_is_rebuilt_from_its_weights(visual, tmp_path, rng):
    save_file(visual.state_dict(), tmp_path / "clip_tokens.safetensors")
    loaded = load_clip_tokens(tmp_path / "clip_tokens.safetensors", head_width=8)
    images = torch.rand(1, 3, 224, 224, generator=rng)
    torch.testing.assert_close(loaded(images), ClipTokens(visual)(images))
    assert not any(p.requires_grad for p in loaded.parameters())


def test_weights_that_are_not_there_are_named(tmp_path):
    declare_torchvision_operators()
    pytest.importorskip("open_clip")
    with pytest.raises(ArtifactError, match=r"nothing\.safetensors does not exist. Import"):
        load_clip_tokens(tmp_path / "nothing.safetensors")


def test_the_clean_resize_is_antialiased_bicubic(visual, rng):
    images = torch.rand(1, 3, 300, 300, generator=rng)
    small = F.interpolate(images, (224, 224), mode="bicubic", antialias=True)
    encode = ClipTokens(visual, scaling="clean")
    torch.testing.assert_close(encode(images), encode(small))
