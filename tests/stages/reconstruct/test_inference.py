import pytest
import torch

from mindeye2.core.runtime import generator
from mindeye2.models.checkpoint import load_run
from mindeye2.stages.reconstruct.inference import predict, predict_trials, sample_prior
from mindeye2.stages.reconstruct.reconstruct_settings import ReconstructSettings
from mindeye2.training.trials import load_trials

SEEDS = (3, 4, 5)


@pytest.fixture
def model(adapted):
    return load_run(adapted).model


@pytest.fixture
def condition():
    return torch.linspace(-1, 1, len(SEEDS) * 49 * 128).reshape(len(SEEDS), 49, 128)


@pytest.fixture
def samples(model, condition):
    """Return what the prior itself samples, twice in a row."""
    generators = [generator(seed, "prior") for seed in SEEDS]
    with torch.no_grad():
        return [model.prior.sample(condition, steps=3, generator=generators) for _ in range(2)]


def settings(**changes):
    return ReconstructSettings(prior_steps=3, **changes)


def test_an_image_s_sample_does_not_depend_on_the_batch(model, condition):
    given = settings(prior_samples=2)
    together = sample_prior(model, condition, seeds=SEEDS, settings=given)
    alone = [
        sample_prior(model, condition[i : i + 1], seeds=[seed], settings=given)
        for i, seed in enumerate(SEEDS)
    ]
    torch.testing.assert_close(together, torch.cat(alone))


def test_one_sample_is_that_of_the_prior(model, condition, samples):
    got = sample_prior(model, condition, seeds=SEEDS, settings=settings(prior_samples=1))
    torch.testing.assert_close(got, samples[0])


def test_averaged_samples_have_the_mean_s_direction_and_one_s_norm(model, condition, samples):
    got = sample_prior(model, condition, seeds=SEEDS, settings=settings(prior_samples=2))
    for mean, first, second in zip(got.flatten(1), *(d.flatten(1) for d in samples), strict=True):
        cosine = torch.cosine_similarity(mean, first + second, dim=0)
        assert cosine.item() == pytest.approx(1, abs=1e-5)
        assert mean.square().sum().item() == pytest.approx(
            (first.square().sum() + second.square().sum()).item() / 2, rel=1e-4
        )


def test_single_trials_average_to_the_outputs_of_their_images(model, prepared):
    trials = load_trials(prepared, "subj03", ["test"])
    single = predict_trials(model, trials, subject="subj03", batch_size=3)
    assert len(single) == len(trials) > len(trials.images.unique())
    averaged = predict(model, trials, subject="subj03", average="outputs", batch_size=7)
    for image, tokens in zip(averaged.images, averaged.backbone, strict=True):
        own = single[trials.images == image]
        torch.testing.assert_close(own.mean(dim=0), tokens, rtol=1e-4, atol=1e-5)
