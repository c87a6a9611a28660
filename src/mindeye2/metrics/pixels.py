"""Pixel metrics: correlation and structural similarity, as in the published evaluation.

The published evaluation first resizes all images to 256 x 256, then each metric to 425, always
bilinear and **without antialiasing**, which was its torchvision's default for tensors.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mindeye2.metrics.checks import check_finite, check_varying, is_constant

__all__ = ["pixcorr", "ssim"]

# skimage's rgb2gray (CRT phosphors, as in Charles Poynton's colour FAQ).
_LUMINANCE = (0.2125, 0.7154, 0.0721)
_SIGMA = 1.5
_RADIUS = 5
"""skimage truncates the Gaussian at 3.5 sigma: an 11 x 11 window."""
_CHUNK = 1
"""Images at a time: the maps of one image of 425 pixels stay in a CPU's cache; those of 4 took up
to twice as long, those of 16 four times."""


def pixcorr(
    preds: Float[Tensor, "images rgb ..."],
    targets: Float[Tensor, "images rgb ..."],
    *,
    size: int | None = 425,
) -> Float[Tensor, " images"]:
    """Compute the Pearson correlation of all pixel values of each reconstruction and its image.

    Its floor is not 0: photographs resemble their average, so that one mean image for all scores
    well above it. Report that floor beside the score.

    Parameters
    ----------
    preds
        Reconstructions, RGB. May have another resolution than `targets`.
    targets
        True images, RGB, in the same order.
    size
        Shorter side in pixels to which both are resized first; None compares them as they are.

    Returns
    -------
    Tensor
        One correlation per image; 0 for a reconstruction of a single grey value.

    Raises
    ------
    ValueError
        If shapes do not match after resizing, a value is NaN or infinite, or a true image is
        constant: no correlation with it exists.

    Examples
    --------
    >>> import torch
    >>> image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> pixcorr(0.5 * image + 0.1, image, size=None).round(decimals=3)
    tensor([1.])
    """
    _check_rgb(preds, targets)
    pairs = zip(*_check_and_split(preds, targets, size), strict=True)
    check_varying(targets.flatten(1), "targets")
    scores = torch.cat([_correlation(*(resize_shorter(x, size) for x in pair)) for pair in pairs])
    # Rounding errors of a grey image would be blown up to a correlation.
    return scores.masked_fill(is_constant(preds.flatten(1)), 0.0)


def ssim(
    preds: Float[Tensor, "images rgb ..."],
    targets: Float[Tensor, "images rgb ..."],
    *,
    size: int | None = 425,
) -> Float[Tensor, " images"]:
    """Compute the structural similarity of the grey images, averaged over pixels.

    Wang et al. 2004 with Gaussian windows of sigma 1.5, population covariance and a data range
    of 1, whatever range the images use. Equal to skimage's ``structural_similarity`` on
    ``rgb2gray`` images with these settings.

    Parameters
    ----------
    preds
        Reconstructions, RGB in [0, 1]. May have another resolution than `targets`.
    targets
        True images, RGB in [0, 1], in the same order.
    size
        Shorter side in pixels to which both are resized first; None compares them as they are.

    Returns
    -------
    Tensor
        One score in [-1, 1] per image.

    Raises
    ------
    ValueError
        If shapes do not match after resizing, a value is NaN, infinite or outside [0, 1], or
        images are smaller than the window of 11 pixels.

    Examples
    --------
    >>> import torch
    >>> image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> ssim(image, image, size=None)
    tensor([1.])
    """
    _check_rgb(preds, targets)
    for images, name in ((preds, "preds"), (targets, "targets")):
        _check_range(check_finite(images, name), name)
    scores = [
        _ssim_of_grey(resize_shorter(_grey(p), size)[:, 0], resize_shorter(_grey(t), size)[:, 0])
        for p, t in zip(*_check_and_split(preds, targets, size), strict=True)
    ]
    return torch.cat(scores)


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    """Correlate images; summed in double precision, as half a million pixels lose digits."""
    left, right = (
        z - z.mean(dim=1, keepdim=True, dtype=torch.float64).to(z.dtype)
        for z in (x.flatten(1), y.flatten(1))
    )
    covariance, *variances = (
        (a * b).sum(dim=1, dtype=torch.float64)
        for a, b in ((left, right), (left, left), (right, right))
    )
    scale = (variances[0] * variances[1]).sqrt()
    return (covariance / scale).to(x.dtype)


def resize_shorter(
    images: Float[Tensor, "images rgb ..."], size: int | None
) -> Float[Tensor, "images rgb ..."]:
    """Resize images to a shorter side of `size` pixels, bilinear, without antialiasing."""
    rows, columns = images.shape[-2:]
    shorter = min(rows, columns)
    if size is None or shorter == size:
        return images
    shape = [int(size * rows / shorter), int(size * columns / shorter)]
    return F.interpolate(images, shape, mode="bilinear", antialias=False)


def _check_rgb(preds: Tensor, targets: Tensor) -> None:
    for images, name in ((preds, "preds"), (targets, "targets")):
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"{name} must be (images, 3, height, width), got {tuple(images.shape)}."
            )
    if len(preds) != len(targets):
        raise ValueError(
            f"preds has {len(preds)} images and targets {len(targets)}. Row i of both belongs to "
            "image i."
        )


def _check_range(images: Tensor, name: str) -> None:
    low, high = (float(x) for x in images.aminmax())
    if low < -1e-3 or high > 1 + 1e-3:
        raise ValueError(
            f"{name} must be RGB in [0, 1], got values from {low:g} to {high:g}. Divide 8-bit "
            "images by 255, or clamp a decoder's output."
        )


def _check_and_split(
    preds: Tensor, targets: Tensor, size: int | None
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    probes = (resize_shorter(images[:1, :1].float(), size) for images in (preds, targets))
    shapes = [tuple(probe.shape[-2:]) for probe in probes]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"preds and targets must agree in height and width, got {shapes[0]} and {shapes[1]} "
            f"after resizing the shorter side to {size}. Crop both to one aspect first."
        )
    preds, targets = check_finite(preds, "preds"), check_finite(targets, "targets")
    dtype = torch.promote_types(preds.dtype, targets.dtype)
    return preds.to(dtype).split(_CHUNK), targets.to(dtype).split(_CHUNK)


def _grey(images: Tensor) -> Tensor:
    weights = torch.tensor(_LUMINANCE, dtype=images.dtype, device=images.device)
    return torch.einsum("nchw,c->nhw", images, weights)[:, None]


def _ssim_of_grey(x: Tensor, y: Tensor) -> Tensor:
    if min(x.shape[-2:]) < 2 * _RADIUS + 1:
        raise ValueError(
            f"SSIM needs images of at least {2 * _RADIUS + 1} pixels a side, got "
            f"{tuple(x.shape[-2:])}."
        )
    # Variances do not see the shift, and their differences of squares lose fewer digits with it.
    x, y = x - 0.5, y - 0.5
    mean_x, mean_y, squares, xy = _blur(torch.stack([x, y, x * x + y * y, x * y]))
    variances = squares - mean_x**2 - mean_y**2
    covariance = xy - mean_x * mean_y
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    c1, c2 = 0.01**2, 0.03**2
    similarity: Tensor = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variances + c2)
    )
    return similarity.mean(dim=(1, 2))


def _blur(maps: Tensor) -> Tensor:
    offset = torch.arange(-_RADIUS, _RADIUS + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-0.5 * (offset / _SIGMA) ** 2)
    kernel = kernel / kernel.sum()
    # All maps as channels of one image: 14 times faster on a CPU than as images of one channel.
    stacked = maps.flatten(0, 1)[None].contiguous(memory_format=torch.channels_last)
    count = stacked.shape[1]
    # Only windows that lie inside the image count, as in skimage, so the borders never matter.
    blurred = F.conv2d(stacked, kernel[:, None].expand(count, 1, -1, 1), groups=count)
    blurred = F.conv2d(blurred, kernel.expand(count, 1, 1, -1), groups=count)
    return blurred.reshape(*maps.shape[:2], *blurred.shape[-2:])
