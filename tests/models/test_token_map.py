"""A map between encoders, against scikit-learn and by images that it was not fitted on."""

import pytest
import sklearn.kernel_ridge
import torch

from mindeye2.models.token_map import fit_token_map


@pytest.fixture
def world(rng):
    """Return tokens of 60 images, and features that are linear in them but for noise."""
    tokens = torch.randn(60, 5, 8, generator=rng) + 2
    linear = torch.randn(40, 6, generator=rng)
    noise = torch.randn(60, 6, generator=rng)
    return tokens, tokens.flatten(1) @ linear + noise + 3, linear


def test_it_is_kernel_ridge_with_one_of_the_penalties(world):
    tokens, features, _ = world
    found = fit_token_map(tokens[:50], features[:50])(tokens[50:])
    x, y = tokens[:50].flatten(1), features[:50]
    scale = float((x - x.mean(0)).square().sum()) / 50
    errors = []
    for exponent in range(-5, 3):
        ridge = sklearn.kernel_ridge.KernelRidge(alpha=scale * 10.0**exponent)
        ridge.fit((x - x.mean(0)).numpy(), (y - y.mean(0)).numpy())
        wanted = ridge.predict((tokens[50:].flatten(1) - x.mean(0)).numpy()) + y.mean(0).numpy()
        errors.append(abs(found - torch.from_numpy(wanted)).max())
    assert min(errors) < 1e-2


def test_images_that_were_left_out_are_mapped(world):
    tokens, features, linear = world
    found = fit_token_map(tokens[:50], features[:50])(tokens[50:])
    clean = tokens[50:].flatten(1) @ linear + 3
    assert float((found - clean).norm() / (clean - clean.mean(0)).norm()) < 0.4


def test_an_offset_of_predictions_is_removed_by_their_own_mean(world):
    tokens, features, _ = world
    found = fit_token_map(tokens[:50], features[:50])
    shifted = found(tokens[50:] + 7, mean=found.mean + 7)
    torch.testing.assert_close(shifted, found(tokens[50:]), atol=1e-2, rtol=1e-3)


def test_other_numbers_of_images_are_refused(world):
    with pytest.raises(ValueError, match="got 50 and 60"):
        fit_token_map(world[0][:50], world[1])
