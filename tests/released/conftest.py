"""Weights for the golden numbers: see tests/golden/README.md."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def fill():
    """Return the function that gives each released name and shape its weights."""
    import torch

    def fill(shapes, keep=()):
        state = {}
        for key, shape in shapes.items():
            if key in keep:
                continue
            seeded = np.random.RandomState(zlib.crc32(key.encode()))
            w = seeded.standard_normal(tuple(shape)).astype(np.float32)
            if len(shape) >= 2:
                w *= 1 / np.sqrt(np.prod(shape[1:]))
            else:
                w = 0.1 * w + (1.0 if key.endswith((".weight", ".g", ".gamma")) else 0.0)
            state[key] = torch.from_numpy(np.asarray(w, dtype=np.float32))
        return state

    return fill


@pytest.fixture(scope="session")
def golden_case():
    """Return a function from a case's name to its facts and its arrays."""
    import torch

    def load(name):
        facts = json.loads((GOLDEN / f"{name}.json").read_text())
        arrays = GOLDEN / f"{name}.npz"
        values = np.load(arrays) if arrays.exists() else {}
        return facts, {key: torch.from_numpy(np.asarray(values[key])) for key in values}

    return load
