"""Export for the released code: files that import and load again with equal outputs."""

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from mindeye2.cli import app
from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.models.checkpoint import save_run
from mindeye2.released.exporting import export_weights
from mindeye2.released.importing import import_checkpoint
from mindeye2.released.mindeye import infer_settings, load_mindeye

SUBJECTS = ["anna", "ben"]


@pytest.fixture
def state(golden_case, fill):
    shapes = golden_case("model")[0]["state_dict"]
    return fill(shapes, keep=[k for k in shapes if k.endswith("freqs") or "noise_scheduler" in k])


@pytest.fixture
def model(state):
    return load_mindeye(state, subjects=SUBJECTS).eval()


@pytest.fixture
def run(tmp_path, state, model):
    """Return the folder of a finished run of the released architecture."""
    (tmp_path / "run").mkdir()
    save_run(tmp_path / "run", model=model, settings=infer_settings(state), encoder="bigg")
    write_manifest(tmp_path / "run", stage="train", config={"task": "shared"})
    return tmp_path / "run"


@torch.no_grad()
def decode(model, rng):
    """Decode random betas, and sample the prior from a fixed seed."""
    betas = torch.randn(3, model.ridge.n_voxels["anna"], generator=rng)
    out = model(betas, subject="anna")
    tokens = model.prior.sample(
        out.backbone_tokens, steps=3, generator=torch.Generator().manual_seed(0)
    )
    return [out.retrieval_tokens, out.lowlevel_latents, out.lowlevel_maps, tokens]


def test_an_exported_run_is_imported_with_equal_outputs(tmp_path, run, model):
    exported = export_weights(run, out=tmp_path / "weights.safetensors")
    assert exported.subjects == SUBJECTS
    import_checkpoint(exported.path, out=tmp_path / "imported")
    for source in (exported.path, tmp_path / "imported"):
        again = load_mindeye(source, subjects=SUBJECTS).eval()
        before, after = (decode(m, torch.Generator().manual_seed(1)) for m in (model, again))
        torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_an_import_is_exported_as_it_was_published(tmp_path, state):
    torch.save({"model_state_dict": state}, tmp_path / "last.pth")
    import_checkpoint(tmp_path / "last.pth", out=tmp_path / "imported")
    exported = export_weights(tmp_path / "imported", out=tmp_path / "new" / "x.safetensors")
    values = load_file(exported.path)
    torch.testing.assert_close({n: values[n] for n in state}, state, rtol=0, atol=0)
    assert exported.subjects == ["ridge0", "ridge1"]


def test_the_command_names_file_size_and_the_lines_that_load_it(tmp_path, run):
    out = tmp_path / "weights.safetensors"
    done = CliRunner().invoke(app, ["export", str(run), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert f"{out}: " in done.stdout
    assert "ridge.linears 0: anna, 1: ben" in done.stdout
    assert f"model.load_state_dict(load_file('{out}'), strict=True)" in done.stdout
    again = CliRunner().invoke(app, ["export", str(run), "--out", str(out)])
    assert again.exit_code == 2
    assert "exists and is not overwritten" in again.stderr


def test_other_folders_and_names_are_refused(tmp_path, run, golden_case, fill):
    with pytest.raises(ValueError, match=r"ends in '.safetensors', or a folder, got .*x\.pth"):
        export_weights(run, out=tmp_path / "x.pth")
    with pytest.raises(ArtifactError, match="is not a folder"):
        export_weights(tmp_path / "nowhere", out=tmp_path / "x.safetensors")
    torch.save(fill(golden_case("clip_converter")[0]["state_dict"]), tmp_path / "a.pth")
    import_checkpoint(tmp_path / "a.pth", out=tmp_path / "converter")
    with pytest.raises(ArtifactError, match=r"\['clip_converter'\], but no brain decoder"):
        export_weights(tmp_path / "converter", out=tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()
