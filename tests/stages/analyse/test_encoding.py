"""The encoding model against scikit-learn, voxel by voxel."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from mindeye2.core.runtime import generator
from mindeye2.models.closed_form import image_folds
from mindeye2.stages.analyse.encoding import ALPHAS, fit_encoding
from mindeye2.training.trials import BetaRows, SubjectTrials, TargetBank

N, FEATURES, VOXELS = 60, 30, 5


@pytest.fixture
def world():
    """Return tokens of 80 images and twice 60 trials; the last voxel is noise."""
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((80, 5, 6)).astype(np.float32)
    weights = rng.standard_normal((FEATURES, VOXELS)) * [0.3, 1, 3, 0.1, 0]
    images = torch.from_numpy(rng.permutation(80)[:N].copy()).repeat(2)
    betas = tokens.reshape(80, -1)[images] @ weights + rng.standard_normal((2 * N, VOXELS))
    trials = SubjectTrials(
        betas=BetaRows(betas.astype(np.float32)),
        images=images,
        sessions=torch.zeros_like(images),
    )
    return tokens, trials


def fit(world, **settings):
    tokens, trials = world
    return fit_encoding(
        TargetBank(tokens),
        trials,
        n_components=settings.pop("n_components", 20),
        n_folds=4,
        generator=torch.Generator().manual_seed(3),
        **settings,
    )


def reference(world, n_components=20):
    """Return scaled PCA scores of the images of averaged trials, of all images, and betas."""
    tokens, trials = world
    averaged = trials.averaged()
    flat = tokens.reshape(80, -1).astype(np.float64)
    pca = PCA(n_components, svd_solver="full").fit(flat[averaged.images])
    train = pca.transform(flat[averaged.images])
    scale = np.sqrt((train**2).mean())
    return train / scale, pca.transform(flat) / scale, averaged.betas[:].numpy(), averaged.images


def test_predictions_are_those_of_scikit_learn(world):
    train, every, betas, _ = reference(world)
    want = Ridge(alpha=10.0).fit(train, betas).predict(every)
    found = fit(world, alphas=(10.0,))(torch.from_numpy(world[0]))
    np.testing.assert_allclose(found.numpy(), want, atol=2e-4)


def test_each_voxel_has_the_alpha_that_predicts_held_out_images_best(world):
    train, _, betas, images = reference(world)
    given = torch.Generator().manual_seed(3)
    torch.randperm(len(images), generator=given)  # the images of the PCA
    folds = image_folds(images, n_folds=4, generator=given)
    errors, predicted = [], {a: np.empty_like(betas) for a in ALPHAS}
    for alpha in ALPHAS:
        for fold in folds:
            rest = np.setdiff1d(np.arange(len(images)), fold)
            model = Ridge(alpha=alpha).fit(train[rest], betas[rest])
            predicted[alpha][fold] = model.predict(train[fold])
        errors.append(((predicted[alpha] - betas) ** 2).sum(axis=0))
    model = fit(world)
    want = np.array(ALPHAS)[np.argmin(errors, axis=0)]
    assert model.alpha.tolist() == want.tolist()
    for voxel, alpha in enumerate(want):
        r = np.corrcoef(predicted[alpha][:, voxel], betas[:, voxel])[0, 1]
        assert float(model.held_out[voxel]) == pytest.approx(r, abs=1e-4)


def test_noise_is_shrunken_more_than_signal(world):
    model = fit(world)
    assert model.alpha[4] > model.alpha[2]
    assert model.held_out[2] > 0.9 > 0.4 > model.held_out[4]


def test_components_are_limited_by_the_images(world):
    model = fit(world, n_components=500)
    assert model.axes(torch.from_numpy(world[0])).shape == (80, FEATURES)


def test_the_stream_of_folds_is_the_seed_s(world):
    tokens, trials = world
    pair = [
        fit_encoding(
            TargetBank(tokens),
            trials,
            n_components=8,
            n_folds=3,
            generator=generator(seed, "encoding model"),
        ).held_out
        for seed in (0, 0, 1)
    ]
    assert torch.equal(pair[0], pair[1])
    assert not torch.equal(pair[0], pair[2])
