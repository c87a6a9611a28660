import inspect

import numpy as np
import pytest
import skimage.color
import skimage.metrics
import torch

from mindeye2.metrics.pixels import pixcorr, resize_shorter, ssim


@pytest.fixture
def pair(rng):
    """Noise that is smooth enough to resemble pictures, and a damaged copy."""
    coarse = torch.rand(3, 3, 8, 8, generator=rng)
    target = torch.nn.functional.interpolate(coarse, (48, 48), mode="bicubic").clamp(0, 1)
    noise = torch.rand(target.shape, generator=rng)
    return (0.7 * target + 0.3 * noise).clamp(0, 1), target


def skimage_ssim(pred, target):
    grey = [skimage.color.rgb2gray(x.permute(1, 2, 0).double().numpy()) for x in (pred, target)]
    return skimage.metrics.structural_similarity(
        *grey, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
    )


def test_pixcorr_agrees_with_numpy(pair):
    reference = [np.corrcoef(p.ravel(), t.ravel())[0, 1] for p, t in zip(*pair, strict=True)]
    assert pixcorr(*pair, size=None).tolist() == pytest.approx(reference, abs=1e-5)


@pytest.mark.parametrize("shape", [(48, 48), (11, 40)], ids=["square", "as small as it goes"])
def test_ssim_agrees_with_skimage(pair, shape):
    pred, target = (x[..., : shape[0], : shape[1]] for x in pair)
    reference = [skimage_ssim(p, t) for p, t in zip(pred, target, strict=True)]
    assert ssim(pred, target, size=None).tolist() == pytest.approx(reference, abs=2e-6)


def test_both_resize_to_425_as_published(pair):
    """Bilinear and without antialiasing, also where that makes images smaller."""
    large = [torch.nn.functional.interpolate(x, (500, 500)) for x in pair]
    resized = [torch.nn.functional.interpolate(x, (425, 425), mode="bilinear") for x in large]
    torch.testing.assert_close(pixcorr(*large), pixcorr(*resized, size=None))
    torch.testing.assert_close(ssim(*large), ssim(*resized, size=None))


def test_the_longer_side_keeps_the_aspect():
    assert resize_shorter(torch.zeros(1, 3, 20, 31), 40).shape == (1, 3, 40, 62)


def test_reconstructions_may_have_another_resolution(pair):
    pred, target = pair
    small = pred[..., ::2, ::2]
    assert pixcorr(small, target).shape == ssim(small, target).shape == (3,)


def test_scores_do_not_depend_on_the_batch(pair):
    pred, target = (x.repeat(7, 1, 1, 1) for x in pair)
    for metric in (pixcorr, ssim):
        together = metric(pred, target, size=48)
        torch.testing.assert_close(together, metric(*pair, size=48).repeat(7))


def test_a_grey_reconstruction_can_be_scored(pair):
    _, target = pair
    grey = torch.full_like(target, 0.5)
    assert pixcorr(grey, target).tolist() == [0, 0, 0]
    assert (ssim(grey, target) < 1).all()


def test_a_grey_true_image_has_a_similarity_but_no_correlation(pair):
    pred, target = pair
    target[1] = 0.5
    assert torch.isfinite(ssim(pred, target)).all()
    with pytest.raises(ValueError, match=r"rows \[1\] of target are constant"):
        pixcorr(pred, target)


def test_ssim_refuses_values_outside_its_range(pair):
    pred, target = pair
    with pytest.raises(ValueError, match=r"target must be RGB in \[0, 1\].*to 255.*Divide"):
        ssim(pred, target / target.max() * 255)


def test_what_does_not_fit_is_named(pair):
    pred, target = pair
    # Unwrapped: in tests, the checker of shapes would speak first.
    plain_pixcorr, plain_ssim = inspect.unwrap(pixcorr), inspect.unwrap(ssim)
    with pytest.raises(ValueError, match=r"pred must be \(images, 3, height, width\), got \(3, 1"):
        plain_pixcorr(pred[:, :1], target)
    with pytest.raises(ValueError, match="pred has 2 images and target 3"):
        plain_ssim(pred[:2], target)
    with pytest.raises(ValueError, match="Crop both to one aspect"):
        plain_pixcorr(pred[..., :24], target)
    with pytest.raises(ValueError, match=r"rows \[0\] of pred hold NaN"):
        pixcorr(pred.where(pred != pred[0].max(), torch.nan), target)
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ssim(pred[..., :10], target[..., :10], size=None)
