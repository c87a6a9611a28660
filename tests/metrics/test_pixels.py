import inspect

import pytest
import skimage.color
import skimage.metrics
import torch

from mindeye2.metrics.pixels import pixcorr, resize_shorter, ssim


@pytest.fixture
def pair(rng):
    """Return noise that is smooth enough to resemble photographs, and a damaged copy."""
    coarse = torch.rand(3, 3, 8, 8, generator=rng)
    targets = torch.nn.functional.interpolate(coarse, (48, 48), mode="bicubic").clamp(0, 1)
    noise = torch.rand(targets.shape, generator=rng)
    return (0.7 * targets + 0.3 * noise).clamp(0, 1), targets


def skimage_ssim(preds, targets):
    grey = [skimage.color.rgb2gray(x.permute(1, 2, 0).double().numpy()) for x in (preds, targets)]
    return skimage.metrics.structural_similarity(
        *grey, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
    )


@pytest.mark.parametrize("shape", [(48, 48), (11, 40)], ids=["square", "as small as it goes"])
def test_ssim_agrees_with_skimage(pair, shape):
    preds, targets = (x[..., : shape[0], : shape[1]] for x in pair)
    reference = [skimage_ssim(p, t) for p, t in zip(preds, targets, strict=True)]
    assert ssim(preds, targets, size=None).tolist() == pytest.approx(reference, abs=2e-6)


def test_both_resize_to_425_as_published(pair):
    """Bilinear and without antialiasing, also where that makes images smaller."""
    large = [torch.nn.functional.interpolate(x, (500, 500)) for x in pair]
    resized = [torch.nn.functional.interpolate(x, (425, 425), mode="bilinear") for x in large]
    torch.testing.assert_close(pixcorr(*large), pixcorr(*resized, size=None))
    torch.testing.assert_close(ssim(*large), ssim(*resized, size=None))


def test_the_longer_side_keeps_the_aspect():
    assert resize_shorter(torch.zeros(1, 3, 20, 31), 40).shape == (1, 3, 40, 62)


def test_reconstructions_may_have_another_resolution(pair):
    preds, targets = pair
    small = preds[..., ::2, ::2]
    assert pixcorr(small, targets).shape == ssim(small, targets).shape == (3,)


def test_scores_do_not_depend_on_the_batch(pair):
    preds, targets = (x.repeat(7, 1, 1, 1) for x in pair)
    for metric in (pixcorr, ssim):
        together = metric(preds, targets, size=48)
        torch.testing.assert_close(together, metric(*pair, size=48).repeat(7))


def test_a_grey_reconstruction_can_be_scored(pair):
    _, targets = pair
    grey = torch.full_like(targets, 0.5)
    assert pixcorr(grey, targets).tolist() == [0, 0, 0]
    assert (ssim(grey, targets) < 1).all()


def test_a_grey_true_image_has_a_similarity_but_no_correlation(pair):
    preds, targets = pair
    targets[1] = 0.5
    assert torch.isfinite(ssim(preds, targets)).all()
    with pytest.raises(ValueError, match=r"rows \[1\] of targets are constant"):
        pixcorr(preds, targets)


def test_ssim_refuses_values_outside_its_range(pair):
    preds, targets = pair
    with pytest.raises(ValueError, match=r"targets must be RGB in \[0, 1\].*to 255.*Divide"):
        ssim(preds, targets / targets.max() * 255)


def test_bad_input_is_named(pair):
    preds, targets = pair
    # Unwrapped: in tests, the checker of shapes would raise first.
    plain_pixcorr, plain_ssim = inspect.unwrap(pixcorr), inspect.unwrap(ssim)
    with pytest.raises(ValueError, match=r"preds must be \(images, 3, height, width\), got"):
        plain_pixcorr(preds[:, :1], targets)
    with pytest.raises(ValueError, match="preds has 2 images and targets 3"):
        plain_ssim(preds[:2], targets)
    with pytest.raises(ValueError, match="Crop both to one aspect"):
        plain_pixcorr(preds[..., :24], targets)
    with pytest.raises(ValueError, match=r"rows \[0\] of preds hold NaN"):
        pixcorr(preds.where(preds != preds[0].max(), torch.nan), targets)
    with pytest.raises(ValueError, match="at least 11 pixels"):
        ssim(preds[..., :10], targets[..., :10], size=None)
