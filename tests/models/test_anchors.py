import pytest
import torch

from mindeye2.core.runtime import generator
from mindeye2.models.anchors import choose_anchors, fit_anchors
from mindeye2.models.closed_form import fit_ridge, identification_score, image_folds


def world(n_images, *, carried, n_voxels=40, noise=1.0):
    """Voxels that carry the first `carried` of 30 token numbers, and those alone as expected."""
    rng = torch.Generator().manual_seed(5)
    true = torch.randn(n_images, 30, generator=rng)
    expected = torch.zeros(n_images, 30)
    expected[:, :carried] = 0.2 * true[:, :carried]
    mixing = torch.randn(carried, n_voxels, generator=rng)
    betas = true[:, :carried] @ mixing / carried**0.5
    return betas + noise * torch.randn(betas.shape, generator=rng), true, expected + 3


def choose(betas, true, expected, **changes):
    options = {"generator": generator(0, "folds")} | changes
    images = torch.arange(len(betas))
    return choose_anchors(betas, images, true=true, expected=expected, **options)


def test_no_weight_leaves_the_true_tokens():
    _, true, expected = world(10, carried=4)
    blend = fit_anchors(true, expected, weight=0.0)
    torch.testing.assert_close(blend(true, expected), true)


def test_anchors_have_the_mean_and_the_spread_of_the_true_tokens():
    _, true, expected = world(50, carried=4)
    anchors = fit_anchors(true, expected, weight=1.0)(true, expected)
    torch.testing.assert_close(anchors.mean(dim=0), true.mean(dim=0))
    spread = (anchors - anchors.mean(dim=0)).norm()
    torch.testing.assert_close(spread, (true - true.mean(dim=0)).norm())


def test_scale_and_shift_of_the_expected_tokens_do_not_matter():
    _, true, expected = world(20, carried=4)
    one = fit_anchors(true, expected, weight=0.5)(true, expected)
    other = fit_anchors(true, 7 * expected - 2, weight=0.5)(true, 7 * expected - 2)
    torch.testing.assert_close(one, other)


def test_other_images_are_blended_as_the_fitted_ones_were():
    """Means and spread of the fitted images, not of the ones that are blended."""
    _, true, expected = world(20, carried=4)
    blend = fit_anchors(true[:15], expected[:15], weight=0.5)
    torch.testing.assert_close(blend(true, expected)[15:], blend(true[15:], expected[15:]))


def test_weights_outside_0_and_1_are_refused():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got 1\.5"):
        fit_anchors(torch.randn(3, 2), torch.randn(3, 2), weight=1.5)


def test_expected_tokens_that_do_not_differ_are_refused():
    with pytest.raises(ValueError, match=r"expected tokens of 3 images do not differ"):
        fit_anchors(torch.eye(3), torch.ones(3, 3), weight=0.5)


@pytest.mark.parametrize("blended", [True, False])
def test_scores_are_those_of_ridges_fitted_to_each_blend(blended):
    """The shortcut through linearity against the plain way, on one draw of folds."""
    betas, true, expected = world(24, carried=4)
    options = {"weights": (0.0, 0.5), "penalties": (10.0,), "n_draws": 1, "n_folds": 3}
    found = choose(betas, true, expected, blend_gallery=blended, **options)
    score = 0.0
    for held in image_folds(torch.arange(24), n_folds=3, generator=generator(0, "folds")):
        kept = torch.ones(24, dtype=torch.bool)
        kept[held] = False
        blend = fit_anchors(true[kept], expected[kept], weight=0.5)
        ridge = fit_ridge(betas[kept], blend(true[kept], expected[kept]))
        gallery = blend(true[held], expected[held]) if blended else true[held]
        score += identification_score(ridge.predict(betas[held], 10.0), gallery) / 3
    assert found.scores[0.5] == pytest.approx(score, abs=1e-4)


def test_anchors_are_chosen_where_few_trials_cannot_tell_what_brains_carry():
    betas, true, expected = world(20, carried=3, noise=1.5)
    assert choose(betas, true, expected).weight > 0


def test_anchors_that_name_what_brains_do_not_carry_get_no_weight():
    betas, true, _ = world(40, carried=6, noise=0.5)
    wrong = torch.cat([torch.zeros(40, 6), true[:, 6:]], dim=1)
    found = choose(betas, true, wrong)
    assert found.weight == 0
    assert found.scores[0.75] < found.scores[0.0] - 0.1


def test_the_first_of_equal_weights_is_taken():
    betas, true, _ = world(12, carried=4)
    assert choose(betas, true, true).weight == 0


def test_repeats_of_an_image_are_held_back_together():
    """With every trial twice, a ridge that saw the other repeat would score nearly 1."""
    betas, true, expected = world(12, carried=2, n_voxels=200, noise=5.0)
    both = torch.arange(12).repeat(2)
    found = choose_anchors(
        betas[both],
        both,
        true=true[both],
        expected=expected[both],
        generator=generator(0, "folds"),
    )
    assert max(found.scores.values()) < 0.9


def test_the_choice_follows_the_seed_alone():
    betas, true, expected = world(15, carried=4)
    assert choose(betas, true, expected) == choose(betas, true, expected)
