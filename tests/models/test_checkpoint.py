import pytest
import torch
from safetensors.torch import load_file, save_file

from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.models.checkpoint import load_run, save_run
from mindeye2.models.decoder import build_mindeye
from mindeye2.models.model_settings import LowLevelSettings, ModelSettings, PriorSettings

SIZES = ModelSettings(
    n_tokens=4,
    n_features=6,
    n_latent=10,
    lowlevel=LowLevelSettings(channels=2, size=3),
    prior=PriorSettings(n_heads=2, head_width=4),
)


@pytest.fixture
def model():
    return build_mindeye(SIZES, {"subj01": 7, "subj02": 5}).eval()


@pytest.fixture
def run(model, tmp_path):
    """Return the folder of a finished run."""
    save_run(tmp_path, model=model, settings=SIZES, encoder="lite0")
    write_manifest(tmp_path, stage="train", config={"task": "shared"})
    return tmp_path


def test_a_loaded_model_predicts_as_the_saved_one(model, run, rng):
    loaded = load_run(run)
    betas = torch.randn(3, 5, generator=rng)
    before, after = (m(betas, subject="subj02") for m in (model, loaded.model))
    torch.testing.assert_close(after.backbone_tokens, before.backbone_tokens, rtol=0, atol=0)
    torch.testing.assert_close(after.lowlevel_latents, before.lowlevel_latents, rtol=0, atol=0)
    assert (loaded.encoder, loaded.settings) == ("lite0", SIZES)
    assert loaded.manifest["config"] == {"task": "shared"}


def test_a_loaded_model_is_whole_and_in_eval_mode(run):
    """No parameter or buffer is left on the meta device."""
    model = load_run(run).model
    assert not model.training
    tensors = [*model.parameters(), *model.buffers()]
    assert {t.device.type for t in tensors} == {"cpu"}


def test_the_prior_of_a_loaded_model_samples(run, rng):
    model = load_run(run).model
    tokens = torch.randn(2, 4, 6, generator=rng)
    generators = [torch.Generator().manual_seed(s) for s in (0, 1)]
    assert model.prior.sample(tokens, steps=3, generator=generators).isfinite().all()


def test_an_unfinished_run_is_refused(model, tmp_path):
    save_run(tmp_path, model=model, settings=SIZES, encoder="lite0")
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ArtifactError, match=r"'train' did not finish there"):
        load_run(tmp_path)


def test_a_run_of_another_task_is_named(tmp_path):
    write_manifest(tmp_path, stage="train", config={"task": "autoencoder"})
    with pytest.raises(ArtifactError, match=r"task 'autoencoder', which trains no brain model"):
        load_run(tmp_path)


def test_weights_of_another_model_are_refused_by_name(run):
    weights = load_file(run / "model.safetensors")
    name = next(iter(weights))
    save_file({k: v for k, v in weights.items() if k != name}, run / "model.safetensors")
    write_manifest(run, stage="train", config={"task": "shared"})
    with pytest.raises(ArtifactError, match=rf"does not fit model\.yaml: \['{name}'\] differ"):
        load_run(run)


def test_weights_that_are_no_safetensors_are_refused(run):
    (run / "model.safetensors").write_bytes(b"broken")
    write_manifest(run, stage="train", config={"task": "shared"})
    with pytest.raises(ArtifactError, match=r"model\.safetensors cannot be read"):
        load_run(run)
