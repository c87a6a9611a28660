import pytest
import torch
from scipy.stats import rankdata
from sklearn.linear_model import Ridge

from mindeye2.models.closed_form import (
    RidgeProblem,
    centred_cosines,
    choose_alpha,
    fit_ridge,
    image_folds,
    mean_by_image,
    mean_reciprocal_rank,
    trial_folds,
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


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)], ids=["more trials", "more voxels"])
def test_weights_that_shrink_towards_others_are_a_ridge_on_what_these_leave(shape, rng):
    n_trials, n_voxels = shape
    X = torch.randn(n_trials, n_voxels, generator=rng, dtype=torch.float64) + 2
    Y = torch.randn(n_trials, 3, generator=rng, dtype=torch.float64) - 1
    unit = torch.randn(n_voxels, 3, generator=rng, dtype=torch.float64)
    problem = RidgeProblem(X, Y).towards(lambda trials: unit * len(trials))
    fitted = problem.fit(torch.arange(1, n_trials))
    start = unit * (n_trials - 1)
    reference = Ridge(alpha=7.0).fit(X[1:].numpy(), (Y - X @ start)[1:].numpy())
    weights, bias = fitted.weights(7.0)
    close = {"rtol": 1e-7, "atol": 1e-8}
    torch.testing.assert_close(weights - start, torch.from_numpy(reference.coef_.T), **close)
    torch.testing.assert_close(bias, torch.from_numpy(reference.intercept_), **close)
    torch.testing.assert_close(fitted.predict(X, 7.0), X @ weights + bias, **close)
    projected = problem.project(fitted, torch.arange(n_trials))
    torch.testing.assert_close(
        fitted.predict_projected(projected, 7.0), X @ weights + bias, **close
    )


def test_alpha_is_chosen_with_what_the_weights_shrink_towards(problem):
    """So large an alpha keeps these weights: held-out images are identified by their output."""
    betas, features, images = problem
    start = torch.linalg.pinv(torch.linalg.lstsq(features, betas).solution)
    given = {"alphas": (1e9,), "n_folds": 4}
    shrunk = RidgeProblem(betas, features).towards(lambda _: start)
    _, scores = choose_alpha(shrunk, images, generator=torch.Generator().manual_seed(0), **given)
    folds = image_folds(images, n_folds=4, generator=torch.Generator().manual_seed(0))
    expected = []
    for rows in folds:
        preds, shown = mean_by_image(betas[rows] @ start, images[rows])
        expected.append(mean_reciprocal_rank(preds, features[shown]))
    assert scores[1e9] == pytest.approx(sum(expected) / 4)
    assert scores[1e9] > 0.9


def test_the_smaller_side_is_decomposed(rng, monkeypatch):
    sizes, eigh = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda g: sizes.append(len(g)) or eigh(g))
    fit_ridge(torch.randn(400, 7, generator=rng), torch.randn(400, 2, generator=rng))
    fit_ridge(torch.randn(6, 70, generator=rng), torch.randn(6, 2, generator=rng))
    assert sizes == [7, 6]


def test_matrices_too_large_for_lapack_are_refused(rng, monkeypatch):
    monkeypatch.setattr("mindeye2.models.closed_form.LARGEST_EIGH", 10)
    message = (
        r"ridge regression with 12 trials and 11 voxels needs the eigenvectors of a matrix of 11 "
        r"rows; .* at most 10\. Use fewer"
    )
    with pytest.raises(ValueError, match=message):
        fit_ridge(torch.randn(12, 11, generator=rng), torch.randn(12, 2, generator=rng))


@pytest.mark.parametrize("kept", [45, 20, 6], ids=["most", "fewer than half", "few"])
def test_a_fit_to_some_trials_is_sklearn_s(kept, rng, monkeypatch):
    """From the covariances of all trials, of these alone, or from the trials: in chunks of 4."""
    monkeypatch.setattr("mindeye2.models.moments.CHUNK", 4 * (12 + 3))
    X = torch.randn(50, 12, generator=rng) + 2
    Y = torch.randn(50, 3, generator=rng) - 1
    trials = torch.randperm(50, generator=rng)[:kept]
    fitted = RidgeProblem(X, Y).fit(trials)
    reference = Ridge(alpha=5.0).fit(X[trials].double().numpy(), Y[trials].double().numpy())
    weights, bias = fitted.weights(5.0)
    expected = torch.from_numpy(reference.coef_.T).float()
    torch.testing.assert_close(weights, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        bias, torch.from_numpy(reference.intercept_).float(), rtol=1e-4, atol=1e-5
    )


def test_trials_are_read_in_chunks_and_never_all_at_once(problem, monkeypatch):
    """Two passes: all trials for their covariances, then each fold's."""
    monkeypatch.setattr("mindeye2.models.moments.CHUNK", 4 * (30 + 8))
    betas, features, images = problem
    reads = []

    class Spy:
        shape = betas.shape

        def __getitem__(self, rows):
            reads.append(len(rows))
            return betas[rows]

    given = {"alphas": (30.0, 100.0), "n_folds": 5}
    generator = torch.Generator().manual_seed(1)
    found = choose_alpha(RidgeProblem(Spy(), features), images, generator=generator, **given)
    assert max(reads) <= 4
    assert sum(reads) == 4 + 60 + 2 * 60  # offsets, all, each fold to subtract and to predict
    monkeypatch.undo()
    generator = torch.Generator().manual_seed(1)
    whole = choose_alpha(RidgeProblem(betas, features), images, generator=generator, **given)
    assert found[1] == pytest.approx(whole[1])


def test_folds_over_trials_show_every_image_in_fitted_and_held_out_trials(rng):
    images = torch.arange(4).repeat(6)
    folds = trial_folds(images, n_folds=3, generator=rng)
    assert torch.cat(folds).sort().values.tolist() == list(range(24))
    for fold in folds:
        assert images[fold].bincount().tolist() == [2, 2, 2, 2]


def test_known_images_are_identified_where_new_ones_cannot_be(rng):
    """Responses that say nothing about images that were not fitted: a random code per image."""
    images = torch.arange(8).repeat(6)
    code, targets = torch.randn(8, 40, generator=rng), torch.randn(8, 5, generator=rng)
    betas = 2 * code[images] + torch.randn(48, 40, generator=rng)
    problem = RidgeProblem(betas, targets[images])
    given = {"generator": rng, "alphas": (30.0,), "n_folds": 4}
    _, known = choose_alpha(problem, images, known_images=True, **given)
    _, new = choose_alpha(problem, images, **given)
    assert known[30.0] > 0.95
    assert new[30.0] < 0.9  # among two images; chance is .75


def test_a_fold_of_many_images_is_identified_in_part(problem, rng, monkeypatch):
    monkeypatch.setattr("mindeye2.models.closed_form.N_IDENTIFIED", 1)
    betas, features, images = problem
    _, scores = choose_alpha(RidgeProblem(betas, features), images, generator=rng)
    assert set(scores.values()) == {1.0}  # a gallery of one image


def test_cosines_in_blocks_of_features_are_torch_s(rng, monkeypatch):
    monkeypatch.setattr("mindeye2.models.closed_form.CHUNK", 9 * 3)
    preds, targets = torch.randn(2, 9, 20, generator=rng)
    expected = torch.nn.functional.cosine_similarity(
        (preds - preds.mean(0))[:, None], (targets - targets.mean(0))[None], dim=2
    )
    torch.testing.assert_close(centred_cosines(preds, targets), expected)


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
        ValueError, match=rf"3 distinct images into {n_folds} folds; .*Train on more.*known_images"
    ):
        image_folds(torch.tensor([0, 1, 2, 2]), n_folds=n_folds, generator=rng)


def test_alpha_is_chosen_among_few_images_that_can_be_told_apart(rng):
    """With five folds of one of five images each, every alpha would identify all of them."""
    features = torch.randn(5, 6, generator=rng)
    images = torch.arange(5).repeat(8)
    noise = torch.randn(40, 6, generator=rng)
    problem = RidgeProblem(features[images] + 2 * noise, features[images])
    _, scores = choose_alpha(problem, images, generator=rng, alphas=(1.0, 100.0))
    assert max(scores.values()) < 1


def test_the_best_alpha_is_chosen(problem, rng):
    betas, features, images = problem
    alphas = (1e-3, 30.0, 1e7)
    chosen, scores = choose_alpha(
        RidgeProblem(betas, features), images, generator=rng, alphas=alphas
    )
    assert set(scores) == set(alphas)
    assert scores[chosen] == max(scores.values())
    assert 1 / 4 * sum(1 / k for k in range(1, 5)) < scores[chosen] <= 1


def test_repeats_of_an_image_are_held_out_together(rng):
    """Noise identifies no held-out image, however often each is repeated."""
    images = torch.arange(90) % 30
    betas = torch.randn(30, 60, generator=rng)[images]
    targets = torch.randn(30, 5, generator=rng)[images]
    _, scores = choose_alpha(RidgeProblem(betas, targets), images, generator=rng, alphas=(1.0,))
    chance = sum(1 / k for k in range(1, 7)) / 6  # 6 images a fold
    assert scores[1.0] == pytest.approx(chance, abs=0.15)


def test_a_read_out_is_compared_with_its_own_targets(problem, rng):
    betas, features, images = problem
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=rng)).Q
    given = {"alphas": (30.0,), "generator": torch.Generator().manual_seed(1)}
    problem = RidgeProblem(betas, features)
    _, plain = choose_alpha(problem, images, **given)
    given["generator"] = torch.Generator().manual_seed(1)
    _, read = choose_alpha(
        problem,
        images,
        read_out=lambda z: z @ rotation,
        gallery_of=lambda shown: features[shown] @ rotation,
        **given,
    )
    assert read[30.0] == pytest.approx(plain[30.0])
