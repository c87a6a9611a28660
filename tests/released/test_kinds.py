"""Kinds of checkpoints, recognised by the names of their entries."""

import pytest
import torch

from mindeye2.core.errors import ArtifactError
from mindeye2.released.kinds import KINDS, identify, published_state

ONE = torch.zeros(1)


def test_unclip_gives_its_image_tower_as_well():
    tower = "conditioner.embedders.0.model."
    state = {
        "model.diffusion_model.out.2.bias": ONE,
        "first_stage_model.post_quant_conv.bias": ONE,
        f"{tower}visual.conv1.weight": ONE,
        f"{tower}logit_scale": ONE,
    }
    found = identify({"state_dict": state, "epoch": 0}, where="x")
    assert found.kind == "unclip"
    assert set(found.networks["clip_tokens"]) == {"conv1.weight"}
    assert found.left_out == (f"{tower}logit_scale", "epoch")


def test_openclips_own_file_gives_the_tower_alone():
    state = dict.fromkeys(("visual.class_embedding", "visual.conv1.weight", "logit_scale"), ONE)
    found = identify(state, where="x")
    assert set(found.networks["clip_tokens"]) == {"class_embedding", "conv1.weight"}
    assert found.left_out == ("logit_scale",)


def test_gnets_subjects_get_their_names():
    content = {
        "best_params": {"enc": {"enc.conv3.weight": ONE}, "fwrfs": {1: {"rf0": ONE}}},
        "val_cc": {},
    }
    found = identify(content, where="x")
    assert set(found.networks["gnet"]) == {"encoder.enc.conv3.weight", "readout.subj01.rf0"}
    assert found.left_out == ("val_cc",)


def test_the_entries_of_an_unknown_checkpoint_are_listed():
    with pytest.raises(ArtifactError, match=r"x holds none.*1 tensors.*'fc.weight': \(2, 3\)"):
        identify({"state_dict": {"fc.weight": torch.zeros(2, 3)}, "lr": 1}, where="x")


def test_a_network_of_another_kind_is_named(tmp_path):
    state = {"linear1.weight": ONE, "linear2.weight": ONE}
    torch.save({"model_state_dict": state}, tmp_path / "a.pth")
    assert published_state(tmp_path / "a.pth", kind="clip_converter").keys() == state.keys()
    with pytest.raises(ArtifactError, match=r"the converter.*but GNet \(gnet\) is needed"):
        published_state(tmp_path / "a.pth", kind="gnet")


def test_every_network_is_of_one_kind(golden_case):
    for case, kind in (
        ("released_subj01_keys", "mindeye"),
        ("released_unclip6_keys", "unclip"),
        ("convnext_teacher", "convnext_teacher"),
        ("clip_converter", "clip_converter"),
        ("clip_tokens", "clip_tokens"),
    ):
        facts, _ = golden_case(case)
        names = facts.get("state_dict", facts)
        assert identify(dict.fromkeys(names, ONE), where=case).kind == kind
    assert len(KINDS) == 7
