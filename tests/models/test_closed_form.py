import math

import pytest
import torch
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from mindeye2.models.closed_form import (
    choose_penalty,
    fit_ridge,
    identification_score,
    image_folds,
    mean_by_image,
    principal_axes,
)


@pytest.fixture
def problem(rng):
    """Return 60 trials of 20 images, 30 voxels that carry 8 features, and noise."""
    images = torch.arange(60) % 20
    features = torch.randn(20, 8, generator=rng)[images]
    mixing = torch.randn(8, 30, generator=rng)
    betas = features @ mixing + torch.randn(60, 30, generator=rng)
    return betas, features, images


@pytest.mark.parametrize("penalty", [0.5, 300.0])
@pytest.mark.parametrize("shape", [(40, 12), (12, 40)], ids=["more trials", "more voxels"])
def test_ridge_agrees_with_sklearn(shape, penalty, rng):
    n_trials, n_voxels = shape
    X = torch.randn(n_trials, n_voxels, generator=rng, dtype=torch.float64) + 2
    Y = torch.randn(n_trials, 3, generator=rng, dtype=torch.float64) - 1
    reference = Ridge(alpha=penalty).fit(X.numpy(), Y.numpy())
    fitted = fit_ridge(X, Y)
    weights, bias = fitted.weights(penalty)
    close = {"rtol": 1e-7, "atol": 1e-9}
    torch.testing.assert_close(weights, torch.from_numpy(reference.coef_.T), **close)
    torch.testing.assert_close(bias, torch.from_numpy(reference.intercept_), **close)
    fresh = torch.randn(5, n_voxels, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(fitted.predict(fresh, penalty), fresh @ weights + bias, **close)


def test_the_smaller_side_is_decomposed(rng, monkeypatch):
    sizes, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda g: sizes.append(len(g)) or eigh(g))
    fit_ridge(torch.randn(400, 7, generator=rng), torch.randn(400, 2, generator=rng))
    fit_ridge(torch.randn(6, 70, generator=rng), torch.randn(6, 2, generator=rng))
    principal_axes(torch.randn(300, 8, generator=rng), n_codes=3)
    assert sizes == [7, 6, 8]


@pytest.mark.parametrize(
    ("solve", "problem"),
    [
        (lambda x: fit_ridge(x, x[:, :2]), "ridge regression with 12 trials and 11 voxels"),
        (lambda x: principal_axes(x, n_codes=3), "the principal axes of 12 images"),
    ],
)
def test_what_lapack_would_die_of_is_refused(solve, problem, rng, monkeypatch):
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


def test_the_score_is_the_mean_reciprocal_rank_of_scipy(rng):
    predicted, true = torch.randn(2, 30, 5, generator=rng)
    cosines = torch.nn.functional.cosine_similarity(
        (predicted - predicted.mean(0))[:, None], (true - true.mean(0))[None], dim=2
    )
    ranks = rankdata(-cosines.numpy(), axis=1).diagonal()
    assert identification_score(predicted, true) == pytest.approx((1 / ranks).mean(), rel=1e-5)


def test_predictions_that_are_all_alike_score_as_guessing_does(rng):
    """A tie is no hit: it counts as the middle of the places that it takes."""
    true = torch.randn(9, 5, generator=rng)
    assert identification_score(torch.ones(9, 5), true) == pytest.approx(1 / 5)


def test_folds_share_no_image_and_leave_none_out():
    images = torch.tensor([4, 4, 1, 2, 7, 7, 7, 3])
    folds = image_folds(images, n_folds=3, generator=torch.Generator().manual_seed(0))
    assert sorted(torch.cat(folds).tolist()) == list(range(8))
    shown = [set(images[fold].tolist()) for fold in folds]
    assert not (shown[0] & shown[1])
    assert not (shown[0] & shown[2])
    assert not (shown[1] & shown[2])


@pytest.mark.parametrize("n_folds", [1, 4])
def test_folds_without_an_image_each_are_refused(n_folds, rng):
    with pytest.raises(ValueError, match=rf"3 distinct images into {n_folds} folds; at least 2"):
        image_folds(torch.tensor([0, 1, 2, 2]), n_folds=n_folds, generator=rng)


def test_the_chosen_penalty_is_the_best_of_those_it_reports(problem, rng):
    betas, features, images = problem
    penalties = (1e-3, 30.0, 1e7)
    chosen, scores = choose_penalty(betas, features, images, generator=rng, penalties=penalties)
    assert set(scores) == set(penalties)
    assert scores[chosen] == max(scores.values())
    assert 1 / 4 * sum(1 / k for k in range(1, 5)) < scores[chosen] <= 1


def test_no_held_back_image_is_fitted(rng):
    """Noise predicts nothing of new images, however often each is repeated in the betas."""
    images = torch.arange(90) % 30
    betas = torch.randn(30, 60, generator=rng)[images]
    targets = torch.randn(30, 5, generator=rng)[images]
    _, scores = choose_penalty(betas, targets, images, generator=rng, penalties=(1.0,))
    guess = sum(1 / k for k in range(1, 7)) / 6  # 6 images a fold
    assert scores[1.0] == pytest.approx(guess, abs=0.15)


def test_a_read_out_is_judged_by_its_own_truth(problem, rng):
    betas, features, images = problem
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=rng)).Q
    given = {"penalties": (30.0,), "generator": torch.Generator().manual_seed(1)}
    _, plain = choose_penalty(betas, features, images, **given)
    given["generator"] = torch.Generator().manual_seed(1)
    _, read = choose_penalty(
        betas,
        features,
        images,
        read_out=lambda z: z @ rotation,
        truth=features @ rotation,
        **given,
    )
    assert read[30.0] == pytest.approx(plain[30.0])


@pytest.mark.parametrize("shape", [(20, 30), (30, 20)], ids=["more features", "more images"])
def test_principal_axes_are_sklearn_s(shape, rng):
    values = torch.randn(shape, generator=rng) * torch.linspace(3, 0.1, shape[1]) + 1
    axes, mean = principal_axes(values, n_codes=4)
    reference = PCA(n_components=4).fit(values.numpy())
    cosines = (torch.from_numpy(reference.components_) @ axes).abs()
    torch.testing.assert_close(cosines, torch.eye(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(mean, values.mean(dim=0))
    assert math.isclose((axes[:, 0] @ axes[:, 0]).item(), 1, rel_tol=1e-4)


def test_more_axes_than_images_are_refused():
    with pytest.raises(ValueError, match=r"5 principal axes need at least 6 images, got 5"):
        principal_axes(torch.zeros(5, 9), n_codes=5)
