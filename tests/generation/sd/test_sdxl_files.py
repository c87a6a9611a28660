import pytest
import torch
from safetensors.torch import save_file

from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import process_rng
from mindeye2.generation.sd.sdxl import Sdxl
from mindeye2.generation.sd.sdxl_files import attend_to, load_base, load_sdxl, save_sdxl


@pytest.fixture
def reshaped(tiny_base):
    unet, vae = load_base(str(tiny_base))
    with process_rng(0, "attention"):
        return attend_to(unet, n_features=6, vector_width=32), vae


def test_keys_and_values_are_new_and_the_size_embedding_is_cut(tiny_base, reshaped):
    before = load_base(str(tiny_base))[0].state_dict()
    after = reshaped[0].state_dict()
    assert set(before) == set(after)
    changed = {k for k in before if before[k].shape != after[k].shape}
    assert {k.rpartition("attn2.")[2] for k in changed if "attn2" in k} == {
        "to_k.weight",
        "to_v.weight",
    }
    first = "class_embedding.linear_1.weight"
    assert changed - {first} == {k for k in changed if "attn2" in k}
    assert torch.equal(after[first], before[first][:, :32])
    assert all(torch.equal(before[k], after[k]) for k in set(before) - changed)


def test_a_stored_decoder_predicts_as_before(reshaped, tmp_path, rng):
    sdxl = Sdxl(unet=reshaped[0], vae=reshaped[1], size_width=8).eval()
    save_sdxl(tmp_path, sdxl, dtype=torch.float32)
    again = load_sdxl(tmp_path)
    x, tokens = torch.randn(1, 4, 8, 8, generator=rng), torch.randn(1, 5, 6, generator=rng)
    outs = [s.denoise(x, torch.ones(1), tokens, s.size_vector()) for s in (sdxl, again)]
    assert again.size_width == 8
    torch.testing.assert_close(*outs, rtol=1e-5, atol=1e-6)


def test_a_single_file_under_stable_diffusion_s_names_is_loaded(tmp_path, golden_unclip):
    state, unclip = golden_unclip
    save_file(state, tmp_path / "base.safetensors")
    unet, vae = load_base(str(tmp_path / "base.safetensors"))
    for ours, theirs in ((unet, unclip.unet), (vae, unclip.vae)):
        expected = theirs.state_dict()
        assert all(torch.equal(v, expected[k]) for k, v in ours.state_dict().items())


@pytest.fixture
def golden_unclip():
    """Return a tiny unCLIP under published names, and as imported."""
    import json
    from pathlib import Path

    from mindeye2.released import load_unclip

    golden = Path(__file__).parents[2] / "golden" / "unclip.json"
    shapes = json.loads(golden.read_text())["state_dict"]
    source = torch.Generator().manual_seed(0)
    state = {k: torch.randn(s, generator=source) for k, s in shapes.items()}
    # The golden network's heads are 8 wide; weights do not depend on that.
    return state, load_unclip(state, head_channels=8)


@pytest.mark.parametrize("name", ["nobody/nothing", "file"])
def test_files_that_are_not_sdxl_are_refused(name, tmp_path):
    if name == "file":
        name = str(tmp_path / "x.safetensors")
        save_file({"a": torch.zeros(1)}, name)
    with pytest.raises(ArtifactError, match=r"cannot be loaded as SDXL: .* diffusers' layout"):
        load_base(name)


def test_a_vector_that_is_wider_than_the_model_s_is_refused(tiny_base):
    unet, _ = load_base(str(tiny_base))
    with pytest.raises(ValueError, match=r"takes a vector of 56 numbers, fewer than 99"):
        attend_to(unet, n_features=6, vector_width=99)
