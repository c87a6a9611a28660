"""The ConvNeXt teacher against timm's own; its released numbers are tested in tests/released."""

import pytest
import torch

from mindeye2.core.torchvision_operators import declare_torchvision_operators
from mindeye2.encoders.convnext import build_convnext_teacher, infer_convnext_teacher


@pytest.fixture
def teacher():
    return build_convnext_teacher(depths=(1, 1, 2, 1), widths=(8, 16, 24, 32), projector=(12, 6))


@torch.no_grad()
def test_the_backbone_is_timms_convnext_without_layer_scale(teacher, rng):
    declare_torchvision_operators()  # which timm imports
    timm = pytest.importorskip("timm")
    theirs = timm.models.convnext.ConvNeXt(
        depths=(1, 1, 2, 1), dims=(8, 16, 24, 32), ls_init_value=None, num_classes=0
    ).eval()
    ours = teacher.backbone.state_dict()
    renamed = {}
    for name in theirs.state_dict():
        back = name.replace("stem.", "downsample_layers.0.").replace("head.norm.", "norm.")
        back = back.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
        if ".downsample." in back:
            stage, part = back.split(".downsample.")
            back = f"downsample_layers.{stage.removeprefix('stages.')}.{part}"
        renamed[name] = ours[back.replace(".blocks.", ".")]
    theirs.load_state_dict(renamed)
    images = torch.rand(2, 3, 64, 64, generator=rng)
    maps = theirs.forward_features(images)
    want = torch.nn.functional.layer_norm(
        maps.flatten(2).transpose(1, 2), (32,), ours["norm.weight"], ours["norm.bias"], 1e-6
    )
    torch.testing.assert_close(teacher.backbone(images), want, rtol=1e-4, atol=1e-5)


def test_an_image_of_224_pixels_has_49_positions(teacher, rng):
    assert teacher(torch.rand(1, 3, 224, 224, generator=rng)).shape == (1, 49, 6)


def test_the_input_is_normalised_with_the_published_red(teacher):
    assert teacher.std.flatten().tolist() == pytest.approx([0.228, 0.224, 0.225])
    assert "std" not in teacher.state_dict()


def test_sizes_are_inferred_from_the_weights(teacher):
    sizes = {"depths": [1, 1, 2, 1], "widths": [8, 16, 24, 32], "projector": [12, 6]}
    assert infer_convnext_teacher(teacher.state_dict()) == sizes
    with pytest.raises(ValueError, match=r"not VICRegL's ConvNeXt: no 'backbone\.stages"):
        infer_convnext_teacher({})
