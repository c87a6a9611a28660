"""Principal components of image tokens, read in blocks: the tokens of all images fit no memory."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.models.closed_form import decompose
from mindeye2.models.moments import CHUNK, Rows, row_chunks

__all__ = ["Matrix", "pca_components"]


@runtime_checkable
class Matrix(Rows, Protocol):
    """Rows of which a block of columns can be read too."""

    def __getitem__(self, key: Tensor | tuple[Tensor, slice], /) -> Tensor:
        """Read rows by number, all columns or some of them."""


@torch.no_grad()
def pca_components(
    values: Matrix,
    *,
    n_components: int,
    rows: Int[Tensor, " images"] | None = None,
    out: Float[Tensor, "features components"] | None = None,
) -> tuple[Float[Tensor, "features components"], Float[Tensor, " features"]]:
    """Compute the leading PCA components of flattened tokens.

    Reads them twice, in blocks of columns or of rows. Besides the result it needs the square of
    the number of images or of features, whichever is smaller.

    Parameters
    ----------
    values
        Tokens, (images, features).
    n_components
        Components to compute.
    rows
        Images to use; all by default.
    out
        Where to write the components, on the device to compute on.

    Returns
    -------
    tuple
        Components as orthonormal columns, and the mean of the images used.

    Raises
    ------
    ValueError
        If there are too few images or features, or too many for `decompose`.
    """
    n_features = values.shape[1]
    rows = torch.arange(values.shape[0]) if rows is None else rows
    if n_components > min(len(rows) - 1, n_features):
        raise ValueError(
            f"{n_components} PCA components need at least {n_components + 1} images, got "
            f"{len(rows)}, and as many features, got {n_features}. Lower "
            "model.n_latent, or give more training images."
        )
    out = torch.empty(n_features, n_components) if out is None else out
    solve = _from_images if len(rows) <= n_features else _from_features
    return out, solve(values, rows, out)


def _from_images(values: Matrix, rows: Tensor, out: Tensor) -> Tensor:
    """Write components from the products of images with each other; return the mean."""
    width = max(1, CHUNK // len(rows))
    blocks = [slice(s, s + width) for s in range(0, values.shape[1], width)]
    gram, means = out.new_zeros(len(rows), len(rows)), []
    for block in blocks:
        columns = values[rows, block].to(out)
        means.append(columns.mean(dim=0))
        columns -= means[-1]
        gram.addmm_(columns, columns.T)
    eigenvalues, vectors = decompose(gram, f"PCA of {len(rows)} images")
    n_components = out.shape[1]
    scale = eigenvalues.flip(0)[:n_components].clamp_min(1e-12).sqrt()
    top = vectors.flip(1)[:, :n_components] / scale
    for block, mean in zip(blocks, means, strict=True):
        out[block] = (values[rows, block].to(out) - mean).T @ top
    return torch.cat(means)


def _from_features(values: Matrix, rows: Tensor, out: Tensor) -> Tensor:
    """Write components from the covariance of features; return the mean."""
    chunks = row_chunks(rows, width=values.shape[1])
    mean = torch.stack([values[chunk].to(out).sum(dim=0) for chunk in chunks]).sum(dim=0)
    mean /= len(rows)
    gram = out.new_zeros(len(mean), len(mean))
    for chunk in chunks:
        centred = values[chunk].to(out) - mean
        gram.addmm_(centred.T, centred)
    _, vectors = decompose(gram, f"PCA of {len(rows)} images")
    out.copy_(vectors.flip(1)[:, : out.shape[1]])
    return mean
