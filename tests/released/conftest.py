"""Golden numbers: see tests/golden/README.md."""

import json
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


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
