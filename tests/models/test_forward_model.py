from dataclasses import replace

import pytest
import scipy.spatial
import torch
from safetensors.torch import load_file, save_file
from sklearn.covariance import shrunk_covariance
from sklearn.linear_model import Ridge
from torch import nn

from mindeye2.models.forward_model import (
    choose_forward_model,
    copy_forward_model,
    fit_forward_model,
    load_forward_model,
    whitening_map,
)
from mindeye2.models.moments import Moments


@pytest.fixture
def space(rng):
    """Return 40 targets of 12 features, a mean and 5 orthonormal components."""
    targets = torch.randn(40, 12, generator=rng)
    components = torch.linalg.qr(torch.randn(12, 5, generator=rng)).Q
    return targets, targets.mean(dim=0), components


def fit(preds, targets, *, mean, components, alpha):
    """Fit to PCA scores that are added in two chunks."""
    zeros = torch.zeros(components.shape[1], dtype=torch.float64)
    moments = Moments.about(zeros, zeros)
    X, Y = (((values - mean) @ components).double() for values in (targets, preds))
    for rows in torch.arange(len(X)).split(25):
        moments.add(X[rows], Y[rows])
    return fit_forward_model(moments, mean=mean, components=components, alpha=alpha)


def test_the_forward_model_is_sklearn_s_ridge_between_pca_scores(space, rng):
    targets, mean, components = space
    preds = torch.randn(40, 12, generator=rng)
    fitted = fit(preds, targets, mean=mean, components=components, alpha=3.0)
    X, Y = (targets - mean) @ components, (preds - mean) @ components
    reference = Ridge(alpha=3.0).fit(X.numpy(), Y.numpy())
    torch.testing.assert_close(
        fitted.weights, torch.from_numpy(reference.coef_.T), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        fitted.bias, torch.from_numpy(reference.intercept_), rtol=1e-5, atol=1e-5
    )


def test_shrinkage_of_decoded_tokens_is_fitted(space):
    targets, mean, components = space
    inside = (targets - mean) @ components @ components.T + mean
    shrunk = 0.3 * (inside - mean) + mean
    fitted = fit(shrunk, inside, mean=mean, components=components, alpha=1e-4)
    expected = fitted(inside.view(40, 3, 4))
    torch.testing.assert_close(expected.flatten(1), shrunk, rtol=1e-3, atol=1e-3)


@pytest.fixture
def output(rng):
    """Return an output layer of 12 features, whose columns are not orthogonal."""
    layer = nn.Linear(5, 12)
    nn.init.normal_(layer.weight, generator=rng)
    nn.init.normal_(layer.bias, generator=rng)
    return layer


def test_a_stored_map_gives_the_same_tokens_and_refers_to_the_output_layer(
    space, output, tmp_path
):
    targets, _, _ = space
    axes = {"mean": output.bias.detach(), "components": output.weight.detach()}
    fitted = fit(0.5 * targets, targets, **axes, alpha=1.0)
    fitted.save(tmp_path)
    assert set(load_file(tmp_path / "expectation.safetensors")) == {"weights", "bias"}
    (tmp_path / "next").mkdir()
    copy_forward_model(tmp_path, tmp_path / "next")
    tokens = targets.view(40, 3, 4)
    for folder in (tmp_path, tmp_path / "next"):
        torch.testing.assert_close(load_forward_model(folder, output)(tokens), fitted(tokens))


def test_distances_between_whitened_tokens_are_mahalanobis_with_a_shrunken_covariance(rng):
    errors = torch.randn(80, 5, generator=rng, dtype=torch.float64)
    errors = errors @ torch.randn(5, 5, generator=rng, dtype=torch.float64)
    covariance = errors.T @ errors / len(errors)
    whitened = errors @ whitening_map(covariance)
    inverse = torch.linalg.inv(torch.from_numpy(shrunk_covariance(covariance.numpy(), 0.5)))
    reference = scipy.spatial.distance.cdist(errors[:9], errors, "mahalanobis", VI=inverse)
    torch.testing.assert_close(
        torch.cdist(whitened[:9], whitened), torch.from_numpy(reference), rtol=1e-6, atol=1e-6
    )
    assert torch.isfinite(whitening_map(torch.zeros(3, 3))).all()


def test_whitening_finds_images_that_errors_in_one_direction_hide(output, rng, tmp_path):
    latents = torch.randn(30, 5, generator=rng)
    noise = 0.1 * torch.randn(30, 5, generator=rng) + 3 * torch.randn(
        30, 1, generator=rng
    ) * torch.tensor([1.0, 0, 0, 0, 0])
    tokens, decoded = (output(x).detach().view(30, 3, 4) for x in (latents, latents + noise))
    axes = {"mean": output.bias.detach(), "components": output.weight.detach()}
    plain = fit(tokens.flatten(1), tokens.flatten(1), **axes, alpha=1e-4)
    assert plain.whiten(tokens) is tokens
    gram = output.weight.detach().T @ output.weight.detach()
    # Inner products become latents, and these are whitened.
    whitening = torch.linalg.inv(gram) @ whitening_map(noise.T @ noise / len(noise))
    replace(plain, whitening=whitening).save(tmp_path)
    loaded = load_forward_model(tmp_path, output)

    def found(model):
        gallery, queries = (model.whiten(x).flatten(1) for x in (tokens, decoded))
        return int((torch.cdist(queries, gallery).argmin(dim=1) == torch.arange(30)).sum())

    assert loaded.whiten(tokens).shape == (30, 5)
    assert found(loaded) > 1.5 * found(plain)
    assert found(loaded) > 15


def test_components_that_earlier_versions_stored_are_used(space, output, tmp_path):
    targets, mean, components = space
    fitted = fit(0.5 * targets, targets, mean=mean, components=components, alpha=1.0)
    values = {"weights": fitted.weights, "bias": fitted.bias, "mean": mean, "axes": components}
    save_file({n: v.contiguous() for n, v in values.items()}, tmp_path / "expectation.safetensors")
    tokens = targets.view(40, 3, 4)
    torch.testing.assert_close(load_forward_model(tmp_path, output)(tokens), fitted(tokens))


def test_a_run_without_a_forward_model_has_none(output, tmp_path):
    copy_forward_model(tmp_path, tmp_path / "next")
    assert load_forward_model(tmp_path, output) is None


@pytest.mark.parametrize(
    ("best", "score"),
    [(None, 0.5), ((1.0, 0.0, False), 0.6), ((2.0, 0.0, True), 0.7), ((2.0, 0.5, True), 0.8)],
    ids=["none is as good", "the first", "whitened", "with a part of the true tokens"],
)
def test_a_forward_model_must_beat_none(best, score, space):
    """The part of the true tokens is chosen at the best alpha, even where none is as good."""
    targets, mean, components = space
    choices = {}

    def fit_choice(*choice):
        model = fit(targets, targets, mean=mean, components=components, alpha=1.0)
        choices[id(model)] = model, choice
        return model

    def score_choice(model):
        if model is None:
            return 0.5
        _, choice = choices[id(model)]
        return score if choice == best else 0.4 + 0.05 * (choice == (2.0, 0.0, False))

    chosen, reported = choose_forward_model(
        fit_choice, score_choice, alphas=(1.0, 2.0), identities=(0.5,)
    )
    alpha = "1" if best == (1.0, 0.0, False) else "2"
    whitened = [f"{alpha}, whitened", f"{alpha}, identity 0.5", f"{alpha}, identity 0.5, whitened"]
    assert (chosen and choices[id(chosen)][1]) == best
    assert list(reported) == ["none", "1", "2", *whitened]
    assert max(reported.values()) == score
