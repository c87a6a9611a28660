"""Clusters of images by content: k-means on the tokens of all images of a data set."""

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64

from mindeye2.core.runtime import numpy_rng, progress

__all__ = ["image_clusters"]

N_CLUSTERS = 5
"""As in the splits ``cluster_k5`` of LAION-fMRI."""

_CHUNK = 256


def image_clusters(
    tokens: Float[np.ndarray, "images tokens features"], *, n_clusters: int = N_CLUSTERS
) -> Int64[np.ndarray, " images"]:
    """Assign each image to a cluster of images of similar content.

    k-means, started by k-means++ with a fixed seed, on the mean token of each image, standardised
    and scaled to length 1, so that the cosine decides. Clusters are numbered by size, largest
    first. They depend on the images and their tokens alone, not on splits or brain responses.

    Parameters
    ----------
    tokens
        Tokens of every image of a data set, e.g. ``prepared.targets(encoder)``; read in chunks.
    n_clusters
        Clusters.

    Returns
    -------
    numpy.ndarray
        Cluster of each image, from 0.

    Raises
    ------
    ValueError
        If there are fewer images than clusters.
    """
    if len(tokens) < n_clusters:
        raise ValueError(f"{n_clusters} clusters need as many images, got {len(tokens)}.")
    starts = range(0, len(tokens), _CHUNK)
    pooled = np.concatenate(
        [
            np.asarray(tokens[s : s + _CHUNK], np.float32).mean(axis=1)
            for s in progress(starts, label="clusters of images")
        ]
    )
    scaled = (pooled - pooled.mean(axis=0)) / np.maximum(pooled.std(axis=0), 1e-6)
    unit = F.normalize(torch.from_numpy(scaled), dim=1).numpy()
    rng = numpy_rng(0, "image clusters")
    _, labels = scipy.cluster.vq.kmeans2(unit, n_clusters, minit="++", iter=50, rng=rng)
    by_size = np.argsort(-np.bincount(labels, minlength=n_clusters), kind="stable")
    clusters: Int64[np.ndarray, " images"] = np.argsort(by_size)[labels].astype(np.int64)
    return clusters
