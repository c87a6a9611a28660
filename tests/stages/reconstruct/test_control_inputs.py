"""Random betas, and ridges of few dimensions, through the stage."""

import pytest
import torch
from safetensors.torch import load_file

from mindeye2.models.checkpoint import load_run
from mindeye2.models.decoder import MindEye
from mindeye2.stages.reconstruct import reconstruct
from mindeye2.stages.reconstruct.control_inputs import random_betas
from mindeye2.training.trials import load_trials


@pytest.fixture
def tokens(data, adapted, decoding, tmp_path):
    """Return a function that decodes tokens with other settings, and reads them."""

    def _tokens(**settings):
        out = tmp_path / "-".join(f"{k}{v}" for k, v in settings.items())
        chosen = decoding.model_copy(update={**settings, "images": False})
        reconstruct(chosen, source=data, init=adapted, out=out, device="cpu")
        return load_file(out / "tokens.safetensors")

    return _tokens


def test_random_betas_have_mean_and_deviation_of_each_voxel(prepared):
    trials = load_trials(prepared, "subj03", ["train"])
    noise, measured = random_betas(trials, seed=0), trials.averaged()
    assert torch.equal(noise.images, measured.images)
    n = len(noise)
    errors = (noise.betas[:].mean(dim=0) - measured.betas[:].mean(dim=0)) / (
        measured.betas[:].std(dim=0) / n**0.5
    )
    assert float(errors.square().mean()) == pytest.approx(1, abs=0.5)
    ratio = noise.betas[:].std(dim=0) / measured.betas[:].std(dim=0)
    assert float(ratio.mean()) == pytest.approx(1, abs=0.05)
    both = torch.cat([noise.betas[:], measured.betas[:]]).T.corrcoef()
    assert both.isfinite().all()
    correlation = torch.nn.functional.cosine_similarity(
        *(x.betas[:] - x.betas[:].mean(dim=0) for x in (noise, measured)), dim=0
    )
    assert float(correlation.square().mean()) < 4 / n


def test_random_betas_decode_to_other_tokens_of_the_same_images(tokens, decoded):
    noise, measured = tokens(betas="random"), load_file(decoded / "tokens.safetensors")
    assert torch.equal(noise["true"], measured["true"])
    assert not torch.allclose(noise["backbone"], measured["backbone"], atol=1e-3)
    assert torch.equal(noise["training_backbone"], measured["training_backbone"])


@pytest.mark.parametrize("dimensions", [0, 3])
def test_a_bottleneck_passes_so_many_dimensions(
    tokens, adapted, prepared, monkeypatch, dimensions
):
    """The backbone receives latents of that rank, for test and training images alike."""
    received = []
    heads = MindEye.heads
    monkeypatch.setattr(
        MindEye, "heads", lambda self, x: received.append(x.clone()) or heads(self, x)
    )
    limited = tokens(bottleneck=dimensions)
    latents = torch.cat(received).double()
    ridge = load_run(adapted).model.ridge
    training = load_trials(prepared, "subj03", ["train", "validation"]).averaged()
    mean = ridge(training.betas[:], subject="subj03").mean(dim=0)
    singular = torch.linalg.svdvals(latents - mean)
    assert int((singular > 1e-4 * latents.norm()).sum()) == dimensions
    if dimensions == 0:
        for name in ("backbone", "training_backbone"):
            assert limited[name].float().std(dim=0).max() < 1e-3


def test_all_dimensions_change_nothing(tokens, decoded):
    latent = 16
    limited = tokens(bottleneck=latent)
    whole = load_file(decoded / "tokens.safetensors")
    for name in ("backbone", "training_backbone"):
        torch.testing.assert_close(limited[name], whole[name], atol=2e-3, rtol=2e-3)


def test_more_dimensions_than_there_are_are_refused(tokens):
    with pytest.raises(ValueError, match=r"bottleneck must be at most 16, .* got 17"):
        tokens(bottleneck=17)
