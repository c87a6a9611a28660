"""A small world that the tests of simulated subjects share."""

import numpy as np
import pytest


def _scenes(n, *, seed=0, side=64):
    """Return images with the spectrum of natural ones, and features for them."""
    rng = np.random.default_rng(seed)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    f[0, 0] = 1 / side
    noise = np.fft.fft2(rng.standard_normal((n, side, side, 3)), axes=(1, 2))
    images = np.fft.ifft2(noise / f[None, :, :, None], axes=(1, 2)).real
    images = 128 + 45 * (images - images.mean()) / images.std()
    latents = rng.standard_normal((n, 60)) * np.arange(1, 61) ** -0.7
    features = latents @ rng.standard_normal((60, 90))
    return images.clip(0, 255).astype(np.uint8), features.astype(np.float32)


@pytest.fixture(scope="session")
def scenes():
    """Return the function that makes images."""
    return _scenes


@pytest.fixture(scope="session")
def world(scenes):
    """Return images, features and splits: 250 to train, 20 to validate, 30 to test."""
    images, features = scenes(300)
    return images, features, ["train"] * 250 + ["validation"] * 20 + ["test"] * 30


@pytest.fixture(scope="session")
def small():
    """Return settings of three subjects with few voxels and short sessions."""
    from mindeye2.data.simulated import SimulationSettings

    return SimulationSettings(
        n_subjects=3,
        min_voxels=120,
        max_voxels=200,
        sessions=3,
        trials_per_session=80,
        runs_per_session=4,
        shared_components=20,
        other_components=24,
        own_components=6,
        early_gain=1.5,
        component_nonlinearity=0.0,
        voxel_nonlinearity=0.0,
    )


@pytest.fixture(scope="session")
def study(world, small):
    """Return the small study."""
    from mindeye2.data.simulated import simulate

    return simulate(*world, settings=small, seed=0)
