"""The smaller published networks: the released numbers, and every name accounted for."""

import numpy as np
import pytest
import torch

from mindeye2.core.torchvision_operators import declare_torchvision_operators
from mindeye2.released.network_loaders import (
    load_clip_converter,
    load_convnext_teacher,
    load_gnet,
    load_lowlevel_vae,
)


@pytest.fixture
def gnet_weights(golden_case, fill):
    """Return the trunk's and the readout's state dict, statistics of the batch norms included."""
    import zlib

    facts, _ = golden_case("gnet")
    shapes = facts["encoder_state_dict"]
    running = ("running_mean", "running_var", "num_batches_tracked")
    trunk = fill(shapes, keep=[k for k in shapes if k == "mu" or k.endswith(running)])
    trunk["mu"] = torch.from_numpy(np.random.RandomState(0).rand(*shapes["mu"])).float()
    for key in shapes.keys() - trunk.keys():
        seeded = np.random.RandomState(zlib.crc32(key.encode()))
        values = torch.from_numpy(np.asarray(seeded.standard_normal(shapes[key]))).float()
        mean = key.endswith("running_mean")
        trunk[key] = 0.1 * values if mean else 1 + values.abs()
        if key.endswith("num_batches_tracked"):
            trunk[key] = torch.tensor(0)
    return trunk, fill(facts["fwrf_state_dict"])


@torch.no_grad()
def test_the_teacher_gives_the_released_maps(golden_case, fill):
    facts, golden = golden_case("convnext_teacher")
    teacher = load_convnext_teacher(fill(facts["state_dict"])).eval()
    torch.testing.assert_close(teacher(golden["image"]), golden["maps"], rtol=0, atol=2e-5)


@torch.no_grad()
def test_the_converter_gives_the_released_tokens(golden_case, fill):
    facts, golden = golden_case("clip_converter")
    converter = load_clip_converter(fill(facts["state_dict"]))
    torch.testing.assert_close(converter(golden["tokens"]), golden["converted"])


@torch.no_grad()
def test_gnet_gives_the_released_prediction(golden_case, gnet_weights):
    _, golden = golden_case("gnet")
    trunk, readout = gnet_weights
    net = load_gnet(encoder=trunk, readout=readout).eval()
    torch.testing.assert_close(net(golden["images"]), golden["prediction"], rtol=0, atol=1e-5)


def test_the_other_networks_of_the_teachers_training_are_left_out(golden_case, fill):
    facts, _ = golden_case("convnext_teacher")
    state = fill(facts["state_dict"])
    state |= {"projector.0.weight": torch.zeros(2, 2), "classifier.bias": torch.zeros(2)}
    whole = {"model": {f"module.{n}": v for n, v in state.items()}, "epoch": 3}
    teacher = load_convnext_teacher(whole)
    assert [len(stage) for stage in teacher.backbone.stages] == facts["depths"]


def vicregl_shapes(widths, depths):
    """Return names and shapes of VICRegL's ConvNeXt, as its file has them."""
    shapes = {"norm.weight": (widths[-1],), "norm.bias": (widths[-1],)}
    for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        before = (3, *widths)[i]
        conv, norm, side = (0, 1, 4) if i == 0 else (1, 0, 2)
        shapes[f"downsample_layers.{i}.{conv}.weight"] = (width, before, side, side)
        shapes[f"downsample_layers.{i}.{conv}.bias"] = (width,)
        for part in ("weight", "bias"):
            shapes[f"downsample_layers.{i}.{norm}.{part}"] = (before if i else width,)
        for block in (f"stages.{i}.{j}." for j in range(depth)):
            shapes[block + "dwconv.weight"] = (width, 1, 7, 7)
            shapes[block + "pwconv1.weight"] = (4 * width, width)
            shapes[block + "pwconv1.bias"] = (4 * width,)
            shapes[block + "pwconv2.weight"] = (width, 4 * width)
            for name in ("dwconv.bias", "norm.weight", "norm.bias", "pwconv2.bias"):
                shapes[block + name] = (width,)
    return {f"backbone.{name}": shape for name, shape in shapes.items()}


def test_the_published_teacher_has_the_parameters_of_convnext_xl():
    """Timm's ConvNeXt-XL without classifier has 348,147,968, which counts its layer scales."""
    widths, depths = (256, 512, 1024, 2048), (3, 3, 27, 3)
    shapes = vicregl_shapes(widths, depths)
    shapes |= {f"maps_projector.{3 * i}.weight": (512, 512 if i else 2048) for i in range(3)}
    shapes |= {f"maps_projector.{i}.bias": (512,) for i in (0, 1, 3, 4)}
    shapes |= {f"maps_projector.{i}.weight": (512,) for i in (1, 4)}
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    teacher = load_convnext_teacher(state)
    scales = sum(width * depth for width, depth in zip(widths, depths, strict=True))
    count = sum(p.numel() for p in teacher.backbone.parameters())
    assert count == 348_147_968 - scales


@pytest.fixture
def vae_state():
    declare_torchvision_operators()  # which diffusers needs
    diffusers = pytest.importorskip("diffusers")
    vae = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
    )
    return vae, vae.state_dict()


@torch.no_grad()
def test_the_autoencoder_is_loaded_under_new_and_old_names(vae_state, rng):
    vae, state = vae_state
    old = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
    before = {}
    for name, value in state.items():
        part = next((part for part in old if part in name), None)
        before[name.replace(part, old[part]) if part else name] = value
    assert before.keys() != state.keys()
    images = torch.randn(1, 3, 16, 16, generator=rng)
    want = vae.eval().encode(images).latent_dist.mode()
    for given in (state, before):
        got = load_lowlevel_vae(given, groups=4).eval().encode(images).latent_dist.mode()
        torch.testing.assert_close(got, want)


def test_the_published_autoencoder_has_83_653_863_parameters():
    from mindeye2.encoders.sd_vae import VaeSettings, build_vae

    with torch.device("meta"):
        vae = build_vae(VaeSettings())
    loaded = load_lowlevel_vae(vae.state_dict())
    assert sum(p.numel() for p in loaded.parameters()) == 83_653_863


@pytest.mark.parametrize(
    ("load", "case", "change", "message"),
    [
        (load_convnext_teacher, "convnext_teacher", {"backbone.stages.0.0.gamma": 8}, "gamma"),
        (load_convnext_teacher, "convnext_teacher", {"backbone.norm.bias": 7}, r"\(7,\) instead"),
        (load_convnext_teacher, "convnext_teacher", {"maps_projector.3.bias": None}, "nothing"),
        (load_clip_converter, "clip_converter", {"linear3.bias": 2}, r"unknown.*linear3.bias"),
        (load_clip_converter, "clip_converter", {"linear1.weight": None}, "gives a size"),
    ],
)
def test_entries_that_do_not_fit_are_named(golden_case, fill, load, case, change, message):
    state = fill(golden_case(case)[0]["state_dict"])
    state |= {name: torch.zeros(size) for name, size in change.items() if size}
    state = {name: value for name, value in state.items() if change.get(name, 1)}
    with pytest.raises(ValueError, match=message):
        load(state)


def test_gnet_lists_its_subjects(gnet_weights):
    trunk, readout = gnet_weights
    readouts = {1: readout, 5: readout}
    whole = {"best_params": {"enc": trunk, "fwrfs": readouts}, "val_cc": {}}
    assert load_gnet(whole, subject="subj05").readout.b.shape == (13,)
    with pytest.raises(ValueError, match=r"\['subj01', 'subj05'\], got subject='subj02'"):
        load_gnet(whole, subject="subj02")


def test_gnet_refuses_images_of_another_size(gnet_weights):
    net = load_gnet(*gnet_weights)
    with pytest.raises(ValueError, match="227 x 227 pixels, got 224 x 224"):
        net(torch.zeros(1, 3, 224, 224))
