import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from mindeye2.models.encoding_models import (
    EncodingModels,
    copy_encoding_models,
    fit_encoding_models,
    load_encoding_models,
    similar_weights,
)


@pytest.fixture
def latents(rng):
    """Return latents of 80 images with variances from 1 to 9."""
    return torch.randn(80, 6, generator=rng) * torch.linspace(1, 3, 6) + 2


@pytest.fixture
def known(rng):
    """Return encoding models of 70 voxels, and their ridge weights for latents of width 3."""
    return torch.randn(6, 70, generator=rng), torch.randn(70, 3, generator=rng)


def test_encoding_models_are_ridge_regressions_on_standardised_scores(latents, rng):
    shown = torch.randint(80, (200,), generator=rng)
    betas = latents[shown] @ torch.randn(6, 5, generator=rng) + 1
    found = fit_encoding_models(latents, {"subj01": (betas, shown)})
    scores = found.scores(latents)
    np.testing.assert_allclose(np.cov(scores.numpy().T, bias=True), np.eye(6), atol=1e-4)
    reference = Ridge(alpha=30.0).fit(scores[shown].numpy(), betas.numpy())
    np.testing.assert_allclose(found.weights["subj01"].numpy().T, reference.coef_, atol=1e-4)


def test_few_images_have_fewer_components(rng):
    latents = torch.randn(4, 6, generator=rng)
    found = fit_encoding_models(latents, {"subj01": (torch.randn(4, 2), torch.arange(4))})
    assert found.components.shape == (6, 3)
    assert found.scores(latents).isfinite().all()


def test_the_weights_are_those_of_the_voxels_that_predict_best(known, rng):
    """By correlations that are computed voxel by voxel, over images with repeats averaged."""
    encoding, ridges = known
    images = torch.arange(25).repeat(2)
    scores = torch.randn(25, 6, generator=rng)
    betas = torch.randn(50, 7, generator=rng)
    found = similar_weights(
        betas, images, scores[images], encoding=encoding, ridges=ridges, n_neighbours=4
    )
    predicted = (scores @ encoding).numpy().T
    averaged = ((betas[:25] + betas[25:]) / 2).numpy().T
    decoding = ridges.numpy()
    for voxel, response in enumerate(averaged):
        r = np.array([np.corrcoef(response, p)[0, 1] for p in predicted])
        left_out, *near = np.argsort(r)[-5:]
        expected = np.average(decoding[near], axis=0, weights=r[near] - max(r[left_out], 0))
        np.testing.assert_allclose(found[voxel].numpy(), expected, atol=1e-4)


def test_which_of_two_nearly_equal_voxels_is_left_out_does_not_matter(known, rng):
    """As another processor may find it."""
    encoding, ridges = known
    scores, response = torch.randn(60, 6, generator=rng), torch.randn(6, 1, generator=rng)
    r = np.corrcoef((scores @ response).T, (scores @ encoding).T)[0, 1:]
    fourth, fifth = np.argsort(-r)[3:5]

    def weights(first, second):
        """Return the weights where one of two voxels is nearer by one in 100,000."""
        near = encoding.clone()
        near[:, first] = encoding[:, fourth]
        near[:, second] = encoding[:, fourth] + 1e-5 * torch.randn(6, generator=rng)
        return similar_weights(
            scores @ response,
            torch.arange(60),
            scores,
            encoding=near,
            ridges=ridges,
            n_neighbours=4,
        )

    torch.testing.assert_close(weights(fourth, fifth), weights(fifth, fourth), atol=1e-3, rtol=0)


def test_voxels_that_are_known_get_their_own_weights(known, rng):
    encoding, ridges = known
    scores = torch.randn(200, 6, generator=rng)
    chosen = torch.tensor([3, 0, 21])
    # Gain and offset of a voxel are no part of what it responds to.
    betas = 5 * scores @ encoding[:, chosen] + 3
    found = similar_weights(
        betas, torch.arange(200), scores, encoding=encoding, ridges=ridges, n_neighbours=1
    )
    torch.testing.assert_close(found, ridges[chosen])


def test_voxels_that_respond_the_other_way_round_have_no_share(rng):
    one = torch.randn(6, 1, generator=rng)
    scores, ridge = torch.randn(30, 6, generator=rng), torch.tensor([[1.0], [100.0]])
    found = similar_weights(
        scores @ one,
        torch.arange(30),
        scores,
        encoding=torch.cat([one, -one], 1),
        ridges=ridge,
    )
    assert found.item() == pytest.approx(1.0)


def test_a_voxel_that_responds_to_nothing_gets_no_weights(known):
    encoding, ridges = known
    scores = torch.eye(6)
    found = similar_weights(
        torch.ones(6, 1), torch.arange(6), scores, encoding=encoding, ridges=ridges
    )
    assert (found == 0).all()


def test_parts_of_the_voxels_give_the_same_weights(known, rng, monkeypatch):
    encoding, ridges = known
    given = (
        torch.randn(20, 7, generator=rng),
        torch.arange(20),
        torch.randn(20, 6, generator=rng),
    )
    whole = similar_weights(*given, encoding=encoding, ridges=ridges)
    monkeypatch.setattr("mindeye2.models.moments.CHUNK", 2 * 70)
    torch.testing.assert_close(similar_weights(*given, encoding=encoding, ridges=ridges), whole)


def test_a_run_keeps_them_in_half_precision_and_hands_them_on(latents, tmp_path, rng):
    shown = torch.arange(80)
    betas = torch.randn(80, 5, generator=rng)
    found = fit_encoding_models(
        latents, {"subj02": (betas, shown), "subj01": (betas[:, :2], shown)}
    )
    for name in ("run", "next", "without"):
        (tmp_path / name).mkdir()
    found.save(tmp_path / "run")
    copy_encoding_models(tmp_path / "run", tmp_path / "next")
    copy_encoding_models(tmp_path / "without", tmp_path / "without")
    assert load_encoding_models(tmp_path / "without") is None
    stored = load_encoding_models(tmp_path / "next")
    assert isinstance(stored, EncodingModels)
    assert set(stored.weights) == {"subj01", "subj02"}
    for subject, weights in found.weights.items():
        torch.testing.assert_close(stored.weights[subject], weights.half().float())
    torch.testing.assert_close(stored.scores(latents), found.scores(latents))
