"""Import of published files to folders that every loader reads."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from mindeye2.cli import app
from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.core.failures import names_in
from mindeye2.core.torchvision_operators import declare_torchvision_operators
from mindeye2.encoders.maps import load_teacher_maps
from mindeye2.encoders.sd_vae import VaeSettings, build_vae, load_sd_latents
from mindeye2.released import importing
from mindeye2.released.importing import ImportSettings, get_published, import_checkpoint
from mindeye2.released.mindeye import load_mindeye
from mindeye2.released.network_loaders import load_clip_converter, load_convnext_teacher, load_gnet

SUBJECTS = ["subj01", "subj02"]


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
def tiny_subjects(monkeypatch, brain):
    """Replace NSD's numbers of voxels by those of the tiny ridges."""
    widths = [brain[f"ridge.linears.{i}.weight"].shape[1] for i in range(2)]
    known = dict(zip(SUBJECTS, widths, strict=True))
    monkeypatch.setattr("mindeye2.released.mindeye.VOXELS", known)


@pytest.mark.usefixtures("tiny_subjects")
def test_an_imported_brain_decoder_is_the_published_one(tmp_path, brain):
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


def test_subjects_of_another_study_may_be_named_when_the_import_is_loaded(tmp_path, brain):
    """Their numbers of voxels are none of NSD's."""
    torch.save({"model_state_dict": brain}, tmp_path / "last.pth")
    import_checkpoint(tmp_path / "last.pth", out=tmp_path / "out")
    model = load_mindeye(tmp_path / "out", subjects=["anna", "ben"])
    assert sorted(model.ridge.maps) == ["anna", "ben"]


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


def test_the_manifest_names_the_source(tmp_path, checkpoint):
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


def test_a_full_disk_is_reported_before_anything_is_written(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(ArtifactError, match=r"importing bigG_to_L_epoch8\.pth needs 2\.4 kB"):
        import_checkpoint(checkpoint, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_interrupted_import_resumes(tmp_path, checkpoint, monkeypatch):
    def full(*_, **__):
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(importing, "save_tensors", full)
        with pytest.raises(OSError, match="No space"):
            import_checkpoint(checkpoint, out=tmp_path / "out")
    with pytest.raises(ArtifactError, match="did not finish"):
        load_clip_converter(tmp_path / "out/")
    import_checkpoint(checkpoint, out=tmp_path / "out", resume=True)
    assert load_clip_converter(tmp_path / "out").linear1.weight.shape == (17, 16)


def test_a_number_too_large_for_half_precision_is_named_and_nothing_is_left(tmp_path, converter):
    converter["linear1.bias"][3] = -1e6
    torch.save(converter, tmp_path / "a.pth")
    out, settings = tmp_path / "out", ImportSettings(precision="float16")
    with pytest.raises(ValueError, match=r"linear1.bias has the value 1e\+06.*precision=float32"):
        import_checkpoint(tmp_path / "a.pth", out=out, settings=settings)
    assert names_in(out) == {"config.yaml"}


@torch.no_grad()
def test_the_teacher_and_its_encoder_come_from_one_import(tmp_path, golden_case, fill):
    facts, golden = golden_case("convnext_teacher")
    state = {f"module.{n}": v for n, v in fill(facts["state_dict"]).items()}
    state["module.projector.0.weight"] = torch.zeros(2, 2)
    torch.save({"model": state, "optimizer": {}}, tmp_path / "vicregl.pth")
    import_checkpoint(tmp_path / "vicregl.pth", out=tmp_path / "out")
    teacher = load_convnext_teacher(tmp_path / "out").eval()
    want = teacher(golden["image"])
    torch.testing.assert_close(want, golden["maps"], rtol=0, atol=2e-5)
    torch.testing.assert_close(load_teacher_maps(tmp_path / "out")(golden["image"]), want)


def test_gnet_keeps_all_its_subjects(tmp_path, golden_case, fill):
    facts, _ = golden_case("gnet")
    trunk, readout = fill(facts["encoder_state_dict"]), fill(facts["fwrf_state_dict"])
    trunk = {n: v.abs() if n.endswith("running_var") else v for n, v in trunk.items()}
    readouts = {1: readout, 2: {n: v + 1 for n, v in readout.items()}}
    content = {"best_params": {"enc": trunk, "fwrfs": readouts}, "val_cc": {1: [0.5]}}
    torch.save(content, tmp_path / "gnet_multisubject.pt")
    import_checkpoint(tmp_path / "gnet_multisubject.pt", out=tmp_path / "out")
    for number, weights in readouts.items():
        net = load_gnet(tmp_path / "out", subject=f"subj{number:02d}")
        torch.testing.assert_close(net.readout.w.data, weights["w"])


def test_the_lowlevel_autoencoder_and_its_encoder_come_from_one_import(tmp_path, rng):
    vae = build_vae(VaeSettings(widths=(32, 32), n_layers=1)).eval()
    torch.save(vae.state_dict(), tmp_path / "sd_image_var_autoenc.pth")
    import_checkpoint(tmp_path / "sd_image_var_autoenc.pth", out=tmp_path / "out")
    images = torch.rand(1, 3, 224, 224, generator=rng)
    with torch.no_grad():
        want = vae.encode(images * 2 - 1).latent_dist.mode() * 0.18215
        torch.testing.assert_close(load_sd_latents(tmp_path / "out")(images), want)


def test_unclip_is_imported_with_its_image_tower(tmp_path, golden_case, fill):
    declare_torchvision_operators()
    facts, tower = golden_case("unclip")[0], golden_case("clip_tokens")[0]["state_dict"]
    state = fill(facts["state_dict"])
    prefix = "conditioner.embedders.0.model."
    state |= {f"{prefix}visual.{name}": v for name, v in fill(tower).items()}
    state |= {f"{prefix}logit_scale": torch.ones(())}
    torch.save({"state_dict": state, "callbacks": {}}, tmp_path / "unclip6_epoch0_step110000.ckpt")
    settings = ImportSettings(head_channels=facts["num_head_channels"])
    out = tmp_path / "out"
    import_checkpoint(tmp_path / "unclip6_epoch0_step110000.ckpt", out=out, settings=settings)
    assert load_file(out / "clip_tokens.safetensors").keys() == tower.keys()
    manifest = read_manifest(out, stage="import")
    assert manifest["left_out"] == [f"{prefix}logit_scale", "callbacks"]
    assert manifest["licence"].startswith("CreativeML Open RAIL++-M")


def test_a_published_name_is_downloaded_and_imported(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setattr(importing, "fetch", lambda *_, **__: checkpoint)
    out = tmp_path / "out"
    manifest = get_published("bigG_to_L", out=out, agreed=True, settings=ImportSettings())
    assert manifest == out / "manifest.json"
    asis = get_published("sdxl_base", out=out, agreed=True, settings=ImportSettings())
    assert asis == checkpoint


def test_the_command_imports_and_reports_errors_in_one_line(tmp_path, checkpoint):
    run = CliRunner().invoke
    done = run(app, ["import", str(checkpoint), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0
    assert done.stdout.strip() == str(tmp_path / "out" / "manifest.json")
    for given, message in (
        ([], "give either a FILE to import or --released NAME"),
        (["--released", "unclip"], "Did you mean 'unclip6'?"),
        ([str(tmp_path / "nothing.pth")], "does not exist"),
    ):
        failed = run(app, ["import", *given, "--out", str(tmp_path / "other")])
        assert failed.exit_code == 2
        assert message in failed.stderr
        assert failed.stderr.count("\n") == 1
