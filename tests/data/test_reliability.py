import numpy as np
import pytest

from mindeye2.data import reliability
from mindeye2.data.reliability import ncsnr, ncsnr_by_columns, noise_ceiling


def _gaussian(true, *, images, repeats, seed=0):
    """Draw z-scored betas with known signal-to-noise ratios."""
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(images), repeats)
    signal = rng.standard_normal((images, len(true))) * true
    betas = signal[image] + rng.standard_normal((len(image), len(true)))
    return ((betas - betas.mean(0)) / betas.std(0)).astype(np.float32), image


def _by_loop(betas, images):
    """Estimate by the definition, one voxel and one image at a time."""
    result = []
    for voxel in betas.T.astype(np.float64):
        squares, freedom = 0.0, 0
        for image in set(images.tolist()):
            shown = voxel[images == image]
            squares += ((shown - shown.mean()) ** 2).sum()
            freedom += len(shown) - 1
        noise = squares / freedom
        result.append(np.sqrt(max(0.0, voxel.var() - noise) / noise))
    return np.array(result)


def test_true_ratios_are_recovered():
    true = np.linspace(0.2, 2, 50)
    betas, images = _gaussian(true, images=2000, repeats=3)
    np.testing.assert_allclose(ncsnr(betas, images), true, rtol=0.08, atol=0.02)


def test_three_repeats_give_the_formula_of_nsd():
    betas, images = _gaussian(np.full(5, 0.5), images=100, repeats=3)
    noise = betas.reshape(100, 3, 5).astype(np.float64).var(axis=1, ddof=1).mean(axis=0)
    np.testing.assert_allclose(ncsnr(betas, images), np.sqrt((1 - noise) / noise), rtol=1e-4)


def test_unequal_repeats_match_a_loop():
    betas, images = _gaussian(np.linspace(0, 1, 7), images=60, repeats=3)
    keep = np.random.default_rng(1).random(len(images)) < 0.6
    assert len(set(np.bincount(images[keep]).tolist())) == 4
    expected = _by_loop(betas[keep], images[keep])
    np.testing.assert_allclose(ncsnr(betas[keep], images[keep]), expected, atol=1e-5)


def test_order_and_numbering_of_images_do_not_matter():
    betas, images = _gaussian(np.full(6, 0.4), images=50, repeats=2)
    order = np.random.default_rng(2).permutation(len(images))
    moved = ncsnr(betas[order], 7000 - 13 * images[order])
    np.testing.assert_allclose(moved, ncsnr(betas, images), rtol=1e-5)


def test_blocks_of_voxels_do_not_matter(monkeypatch):
    betas, images = _gaussian(np.full(11, 0.4), images=50, repeats=2)
    whole = ncsnr(betas, images)
    monkeypatch.setattr(reliability, "_BLOCK", 400)
    np.testing.assert_array_equal(ncsnr(betas, images), whole)


def test_betas_read_column_by_column_give_the_same(monkeypatch):
    betas, images = _gaussian(np.full(11, 0.4), images=50, repeats=2)
    monkeypatch.setattr(reliability, "_BLOCK", 400)
    read = ncsnr_by_columns(lambda columns: betas[:, columns].copy(), images, n_voxels=11)
    np.testing.assert_array_equal(read, ncsnr(betas, images))


def test_pure_noise_has_no_signal_and_no_negative_ratio():
    betas, images = _gaussian(np.zeros(200), images=300, repeats=3)
    ratios = ncsnr(betas, images)
    assert (ratios >= 0).all()
    assert (ratios == 0).mean() > 0.3
    assert np.median(ratios) < 0.15


def test_no_noise_is_infinite_and_a_constant_voxel_is_unknown():
    image = np.repeat(np.arange(20), 3)
    betas = np.stack([image % 7, np.zeros(60)], axis=1).astype(np.float32)
    ratios = ncsnr(betas, image)
    assert np.isposinf(ratios[0])
    assert np.isnan(ratios[1])
    np.testing.assert_array_equal(noise_ceiling(ratios, 1), [100, np.nan])


def test_the_ceiling_of_nsd_corresponds_to_the_ratio_quoted():
    ratio = np.array([0.433])
    assert noise_ceiling(ratio, 3)[0] == pytest.approx(36.0, abs=0.05)
    assert noise_ceiling(ratio, 1)[0] == pytest.approx(15.8, abs=0.05)


def test_the_ceiling_is_the_explainable_share_of_an_average():
    rng = np.random.default_rng(3)
    signal = 0.5 * rng.standard_normal(200_000)
    average = signal + rng.standard_normal((4, 200_000)).mean(axis=0)
    explained = 100 * np.corrcoef(signal, average)[0, 1] ** 2
    assert noise_ceiling(np.array([0.5]), 4)[0] == pytest.approx(explained, abs=0.5)


def test_no_signal_has_a_ceiling_of_zero():
    assert noise_ceiling(np.zeros(1), 3)[0] == 0


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"betas has 4 trials and images has 3\. Give one image"):
        ncsnr(np.zeros((4, 2), np.float32), np.arange(3))


def test_images_shown_once_are_refused():
    with pytest.raises(ValueError, match="none of the 4 images is shown twice"):
        ncsnr(np.zeros((4, 2), np.float32), np.arange(4))


@pytest.mark.parametrize("n_repeats", [0, -1, float("nan")])
def test_an_impossible_number_of_repeats_is_refused(n_repeats):
    with pytest.raises(ValueError, match=r"must be above 0, got (0|-1|nan)\."):
        noise_ceiling(np.ones(1), n_repeats)
