"""Clusters of tokens with planted groups."""

import numpy as np
import pytest
import sklearn.metrics

from mindeye2.data.image_clusters import image_clusters


@pytest.fixture
def planted():
    """Return tokens of 120 images of five kinds, and the kinds."""
    rng = np.random.default_rng(1)
    kinds = rng.choice(5, 120, p=[0.4, 0.25, 0.15, 0.1, 0.1])
    centres = rng.standard_normal((5, 1, 24))
    tokens = centres[kinds] + 0.3 * rng.standard_normal((120, 4, 24))
    return tokens.astype(np.float16), kinds


def test_planted_groups_are_found_and_numbered_by_size(planted):
    tokens, kinds = planted
    clusters = image_clusters(tokens)
    assert sklearn.metrics.adjusted_rand_score(kinds, clusters) > 0.95
    sizes = np.bincount(clusters, minlength=5)
    assert (np.diff(sizes) <= 0).all()


def test_clusters_do_not_depend_on_the_scale_of_a_feature(planted):
    tokens, _ = planted
    scaled = tokens.astype(np.float32) * np.geomspace(0.1, 10, 24) + 5
    assert sklearn.metrics.adjusted_rand_score(image_clusters(tokens), image_clusters(scaled)) == 1


def test_fewer_images_than_clusters_are_refused(planted):
    with pytest.raises(ValueError, match=r"5 clusters need as many images, got 3"):
        image_clusters(planted[0][:3])
