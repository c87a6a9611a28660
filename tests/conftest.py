"""What every test may use. Nothing happens at import."""

import os

import pytest


def pytest_configure():
    # Before anything imports torch: more threads than this make tiny tensors slower, not faster.
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    # A test that reaches for a hub fails at once, also where there is a network.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture
def rng():
    """Return a seeded generator; the same for each test, whatever ran before."""
    import torch

    return torch.Generator().manual_seed(0)
