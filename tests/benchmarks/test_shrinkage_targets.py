import pytest
import torch

from mindeye2.core.runtime import generator
from mindeye2.models.closed_form import fit_ridge, image_folds, mean_reciprocal_rank


@pytest.fixture(scope="module")
def module(load_benchmark):
    return load_benchmark("shrinkage_targets")


def simulate(n_images, *, carried, n_voxels=40, noise=1.0):
    """Return voxels linear in the first `carried` of 30 features, and those alone as decoded."""
    rng = torch.Generator().manual_seed(5)
    true = torch.randn(n_images, 30, generator=rng)
    decoded = torch.zeros(n_images, 30)
    decoded[:, :carried] = 0.2 * true[:, :carried]
    mixing = torch.randn(carried, n_voxels, generator=rng)
    betas = true[:, :carried] @ mixing / carried**0.5
    return betas + noise * torch.randn(betas.shape, generator=rng), true, decoded + 3


@pytest.fixture
def choose(module):
    def choose(betas, true, decoded, **changes):
        options = {"generator": generator(0, "folds"), "images": torch.arange(len(betas))}
        return module.choose_shrinkage(betas, true=true, decoded=decoded, **options | changes)

    return choose


def test_weight_0_leaves_the_true_tokens(module):
    _, true, decoded = simulate(10, carried=4)
    blend = module.fit_shrinkage_targets(true, decoded, weight=0.0)
    torch.testing.assert_close(blend(true, decoded), true)


def test_weight_1_has_the_mean_and_the_spread_of_the_true_tokens(module):
    _, true, decoded = simulate(50, carried=4)
    scaled = module.fit_shrinkage_targets(true, decoded, weight=1.0)(true, decoded)
    torch.testing.assert_close(scaled.mean(dim=0), true.mean(dim=0))
    spread = (scaled - scaled.mean(dim=0)).norm()
    torch.testing.assert_close(spread, (true - true.mean(dim=0)).norm())


def test_held_out_images_are_blended_with_statistics_of_the_fitted_ones(module):
    _, true, decoded = simulate(20, carried=4)
    blend = module.fit_shrinkage_targets(true[:15], decoded[:15], weight=0.5)
    torch.testing.assert_close(blend(true, decoded)[15:], blend(true[15:], decoded[15:]))


def test_weights_outside_0_and_1_are_refused(module):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got 1\.5"):
        module.fit_shrinkage_targets(torch.randn(3, 2), torch.randn(3, 2), weight=1.5)


def test_constant_decoded_tokens_are_refused(module):
    with pytest.raises(ValueError, match=r"decoded tokens of 3 images do not differ"):
        module.fit_shrinkage_targets(torch.eye(3), torch.ones(3, 3), weight=0.5)


def test_scores_are_those_of_ridges_fitted_to_each_blend(module, choose):
    """The two ridges that serve all weights, against one ridge a weight."""
    betas, true, decoded = simulate(24, carried=4)
    found = choose(betas, true, decoded, weights=(0.0, 0.5), alphas=(10.0,), n_repeats=1)
    score = 0.0
    for held_out in image_folds(torch.arange(24), n_folds=3, generator=generator(0, "folds")):
        fitted = torch.ones(24, dtype=torch.bool)
        fitted[held_out] = False
        blend = module.fit_shrinkage_targets(true[fitted], decoded[fitted], weight=0.5)
        ridge = fit_ridge(betas[fitted], blend(true[fitted], decoded[fitted]))
        gallery = blend(true[held_out], decoded[held_out])
        score += mean_reciprocal_rank(ridge.predict(betas[held_out], 10.0), gallery) / 3
    assert found.scores[0.5] == pytest.approx(score, abs=1e-4)


def test_few_noisy_trials_get_shrinkage(choose):
    assert choose(*simulate(20, carried=3, noise=1.5)).weight > 0


def test_wrong_decoded_tokens_get_no_weight(choose):
    betas, true, _ = simulate(40, carried=6, noise=0.5)
    wrong = torch.cat([torch.zeros(40, 6), true[:, 6:]], dim=1)
    found = choose(betas, true, wrong)
    assert found.weight == 0
    assert found.scores[0.75] < found.scores[0.0] - 0.1


def test_repeats_of_an_image_are_held_out_together(choose):
    """With every trial twice, a ridge fitted to the other repeat would score nearly 1."""
    betas, true, decoded = simulate(12, carried=2, n_voxels=200, noise=5.0)
    both = torch.arange(12).repeat(2)
    found = choose(betas[both], true[both], decoded[both], images=both)
    assert max(found.scores.values()) < 0.9
