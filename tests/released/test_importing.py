"""From a published file to a folder that every loader takes."""

import json

import pytest
import torch
from safetensors.torch import load_file

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.released import importing
from mindeye2.released.importing import ImportSettings, import_checkpoint
from mindeye2.released.mindeye import load_mindeye
from mindeye2.released.networks import load_clip_converter

PEOPLE = ["subj01", "subj02"]


@pytest.fixture
def brain(golden_case, fill):
    shapes = golden_case("model")[0]["state_dict"]
    return fill(shapes, keep=[k for k in shapes if k.endswith("freqs") or "noise_sch" in k])


@pytest.fixture
def converter(golden_case, fill):
    return fill(golden_case("clip_converter")[0]["state_dict"])


@pytest.fixture
def checkpoint(tmp_path, converter):
    path = tmp_path / "bigG_to_L_epoch8.pth"
    moments = {n: torch.zeros(200) for n in converter}
    torch.save({"model_state_dict": converter, "optimizer_state_dict": moments}, path)
    return path


@pytest.fixture
def big_enough(monkeypatch, brain):
    """Let tiny ridges pass for two people's."""
    widths = [brain[f"ridge.linears.{i}.weight"].shape[1] for i in range(2)]
    known = dict(zip(widths, PEOPLE, strict=True))
    monkeypatch.setattr("mindeye2.released.mindeye.NSD_VOXELS", known)


@pytest.mark.usefixtures("big_enough")
def test_an_imported_brain_model_is_the_published_one(tmp_path, brain):
    folder = tmp_path / "final_subj01_pretrained_40sess_24bs"
    folder.mkdir()
    torch.save({"model_state_dict": brain, "epoch": 149}, folder / "last.pth")
    import_checkpoint(folder / "last.pth", out=tmp_path / "out")
    want = load_mindeye(brain).state_dict()
    for source in (folder / "last.pth", tmp_path / "out", tmp_path / "out/mindeye.safetensors"):
        torch.testing.assert_close(load_mindeye(source).state_dict(), want, rtol=0, atol=0)
    manifest = read_manifest(tmp_path / "out", stage="import")
    assert manifest["kind"] == "mindeye"
    assert manifest["left_out"] == ["epoch"]
    assert "NSD" in manifest["licence"]


def test_optimizer_state_is_left_out_and_half_precision_halves_the_file(tmp_path, checkpoint):
    sizes = {}
    for precision in ("stored", "float16"):
        out = tmp_path / precision
        import_checkpoint(checkpoint, out=out, settings=ImportSettings(precision=precision))
        got = load_file(out / "clip_converter.safetensors")
        sizes[precision] = sum(v.nbytes for v in got.values())
    assert sizes["stored"] == 2 * sizes["float16"]
    assert sizes["stored"] < checkpoint.stat().st_size
    half, whole = (load_clip_converter(tmp_path / p) for p in ("float16", "stored"))
    torch.testing.assert_close(half.linear1.weight, whole.linear1.weight, rtol=1e-3, atol=1e-5)


def test_the_manifest_says_where_it_came_from(tmp_path, checkpoint):
    import hashlib

    import_checkpoint(checkpoint, out=tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert manifest["published_at"].endswith("bigG_to_L_epoch8.pth")
    assert manifest["parameters"] == {"clip_converter": 17 * 16 + 17 + 12 * 24 + 12}
    assert manifest["source_bytes"] == checkpoint.stat().st_size


def test_a_checkpoint_that_does_not_fit_leaves_nothing_behind(tmp_path, converter):
    converter["linear2.bias"] = torch.zeros(3)
    torch.save(converter, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"linear2.bias of shape \(3,\) instead of \(12,\)"):
        import_checkpoint(tmp_path / "a.pth", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_said_before_anything_is_written(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setattr("mindeye2.released.room.free_disk", lambda _: 10)
    with pytest.raises(ArtifactError, match=r"importing bigG_to_L_epoch8\.pth needs 2\.4 kB"):
        import_checkpoint(checkpoint, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_interrupted_import_goes_on(tmp_path, checkpoint, monkeypatch):
    def full(*_, **__):
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(importing, "write_slim", full)
        with pytest.raises(OSError, match="No space"):
            import_checkpoint(checkpoint, out=tmp_path / "out")
    with pytest.raises(ArtifactError, match="did not finish"):
        load_clip_converter(tmp_path / "out/")
    with pytest.raises(ArtifactError, match="is not empty"):
        import_checkpoint(checkpoint, out=tmp_path / "out")
    import_checkpoint(checkpoint, out=tmp_path / "out", resume=True)
    assert load_clip_converter(tmp_path / "out").linear1.weight.shape == (17, 16)
