import math

import pytest
import torch
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from mindeye2.models.closed_form import (
    choose_alpha,
    fit_ridge,
    image_folds,
    mean_by_image,
    mean_reciprocal_rank,
    pca_components,
)


@pytest.fixture
def problem(rng):
    """Return 60 trials of 20 images, 30 voxels linear in 8 features, plus noise."""
    images = torch.arange(60) % 20
    features = torch.randn(20, 8, generator=rng)[images]
    mixing = torch.randn(8, 30, generator=rng)
    betas = features @ mixing + torch.randn(60, 30, generator=rng)
    return betas, features, images


@pytest.mark.parametrize("alpha", [0.5, 300.0])
@pytest.mark.parametrize("shape", [(40, 12), (12, 40)], ids=["more trials", "more voxels"])
def test_ridge_agrees_with_sklearn(shape, alpha, rng):
    n_trials, n_voxels = shape
    X = torch.randn(n_trials, n_voxels, generator=rng, dtype=torch.float64) + 2
    Y = torch.randn(n_trials, 3, generator=rng, dtype=torch.float64) - 1
    reference = Ridge(alpha=alpha).fit(X.numpy(), Y.numpy())
    fitted = fit_ridge(X, Y)
    weights, bias = fitted.weights(alpha)
    close = {"rtol": 1e-7, "atol": 1e-9}
    torch.testing.assert_close(weights, torch.from_numpy(reference.coef_.T), **close)
    torch.testing.assert_close(bias, torch.from_numpy(reference.intercept_), **close)
    fresh = torch.randn(5, n_voxels, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(fitted.predict(fresh, alpha), fresh @ weights + bias, **close)


def test_the_smaller_side_is_decomposed(rng, monkeypatch):
    sizes, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda g: sizes.append(len(g)) or eigh(g))
    fit_ridge(torch.randn(400, 7, generator=rng), torch.randn(400, 2, generator=rng))
    fit_ridge(torch.randn(6, 70, generator=rng), torch.randn(6, 2, generator=rng))
    pca_components(torch.randn(300, 8, generator=rng), n_components=3)
    assert sizes == [7, 6, 8]


@pytest.mark.parametrize(
    ("solve", "problem"),
    [
        (lambda x: fit_ridge(x, x[:, :2]), "ridge regression with 12 trials and 11 voxels"),
        (lambda x: pca_components(x, n_components=3), "PCA of 12 images"),
    ],
)
def test_matrices_too_large_for_lapack_are_refused(solve, problem, rng, monkeypatch):
    monkeypatch.setattr("mindeye2.models.closed_form.LARGEST_EIGH", 10)
    message = (
        rf"{problem} needs the eigenvectors of a matrix of 11 rows; .* at most 10\. Use fewer"
    )
    with pytest.raises(ValueError, match=message):
        solve(torch.randn(12, 11, generator=rng))


def test_trials_of_one_image_are_averaged():
    values = torch.tensor([[1.0], [5.0], [3.0], [7.0]])
    means, images = mean_by_image(values, torch.tensor([9, 2, 9, 9]))
    assert images.tolist() == [2, 9]
    torch.testing.assert_close(means, torch.tensor([[5.0], [11 / 3]]))


def test_mean_reciprocal_rank_agrees_with_scipy(rng):
    preds, targets = torch.randn(2, 30, 5, generator=rng)
    cosines = torch.nn.functional.cosine_similarity(
        (preds - preds.mean(0))[:, None], (targets - targets.mean(0))[None], dim=2
    )
    ranks = rankdata(-cosines.numpy(), axis=1).diagonal()
    assert mean_reciprocal_rank(preds, targets) == pytest.approx((1 / ranks).mean(), rel=1e-5)


def test_constant_predictions_score_at_chance(rng):
    """Ties share the mean of their ranks."""
    targets = torch.randn(9, 5, generator=rng)
    assert mean_reciprocal_rank(torch.ones(9, 5), targets) == pytest.approx(1 / 5)


def test_folds_share_no_image_and_cover_all_trials():
    images = torch.tensor([4, 4, 1, 2, 7, 7, 7, 3])
    folds = image_folds(images, n_folds=3, generator=torch.Generator().manual_seed(0))
    assert sorted(torch.cat(folds).tolist()) == list(range(8))
    shown = [set(images[fold].tolist()) for fold in folds]
    assert not (shown[0] & shown[1])
    assert not (shown[0] & shown[2])
    assert not (shown[1] & shown[2])


@pytest.mark.parametrize("n_folds", [1, 4])
def test_folds_without_an_image_each_are_refused(n_folds, rng):
    with pytest.raises(
        ValueError, match=rf"3 distinct images into {n_folds} folds; .*Train on more"
    ):
        image_folds(torch.tensor([0, 1, 2, 2]), n_folds=n_folds, generator=rng)


def test_the_best_alpha_is_chosen(problem, rng):
    betas, features, images = problem
    alphas = (1e-3, 30.0, 1e7)
    chosen, scores = choose_alpha(betas, features, images, generator=rng, alphas=alphas)
    assert set(scores) == set(alphas)
    assert scores[chosen] == max(scores.values())
    assert 1 / 4 * sum(1 / k for k in range(1, 5)) < scores[chosen] <= 1


def test_repeats_of_an_image_are_held_out_together(rng):
    """Noise identifies no held-out image, however often each is repeated."""
    images = torch.arange(90) % 30
    betas = torch.randn(30, 60, generator=rng)[images]
    targets = torch.randn(30, 5, generator=rng)[images]
    _, scores = choose_alpha(betas, targets, images, generator=rng, alphas=(1.0,))
    chance = sum(1 / k for k in range(1, 7)) / 6  # 6 images a fold
    assert scores[1.0] == pytest.approx(chance, abs=0.15)


def test_a_read_out_is_compared_with_its_own_targets(problem, rng):
    betas, features, images = problem
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=rng)).Q
    given = {"alphas": (30.0,), "generator": torch.Generator().manual_seed(1)}
    _, plain = choose_alpha(betas, features, images, **given)
    given["generator"] = torch.Generator().manual_seed(1)
    _, read = choose_alpha(
        betas,
        features,
        images,
        read_out=lambda z: z @ rotation,
        read_out_targets=features @ rotation,
        **given,
    )
    assert read[30.0] == pytest.approx(plain[30.0])


@pytest.mark.parametrize("shape", [(20, 30), (30, 20)], ids=["more features", "more images"])
def test_pca_components_are_sklearn_s(shape, rng):
    values = torch.randn(shape, generator=rng) * torch.linspace(3, 0.1, shape[1]) + 1
    components, mean = pca_components(values, n_components=4)
    reference = PCA(n_components=4).fit(values.numpy())
    cosines = (torch.from_numpy(reference.components_) @ components).abs()
    torch.testing.assert_close(cosines, torch.eye(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(mean, values.mean(dim=0))
    assert math.isclose((components[:, 0] @ components[:, 0]).item(), 1, rel_tol=1e-4)


def test_more_components_than_images_are_refused():
    with pytest.raises(ValueError, match=r"5 PCA components need at least 6 images, got 5"):
        pca_components(torch.zeros(5, 9), n_components=5)
